"""`collapsar-verify`: the loop against closed forms."""
