"""Case studies bring their own data, models, metrics and sections of the page. Nothing else imports a case."""
