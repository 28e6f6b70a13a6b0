"""The studies that come with the project: one TOML file is one study, and its name is the study's name."""
