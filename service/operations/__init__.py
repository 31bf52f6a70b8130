"""What each operation means: its rules for shapes and dtypes, its parameters, its samples."""
