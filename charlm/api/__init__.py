"""The Python interface: load a trained model, or train one; `import charlm` exports the names."""
