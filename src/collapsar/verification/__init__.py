"""`collapsar-verify`: checks the loop against closed forms."""
