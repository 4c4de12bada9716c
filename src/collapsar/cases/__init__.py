"""Case studies: guests that bring their own data, models, metrics and sections. Nothing else imports a case."""
