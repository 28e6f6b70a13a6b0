"""What is recorded of a training: MLflow runs and the model registry."""
