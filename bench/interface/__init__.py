"""What Python programs and notebooks call; `import bench` names it and imports it when it is called."""
