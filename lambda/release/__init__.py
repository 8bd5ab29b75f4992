"""The release controller: make each stage serve the version that its people approved."""
