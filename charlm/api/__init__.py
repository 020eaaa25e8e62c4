"""charlm from Python: load a trained model, or train one. `import charlm` has the names."""
