"""What theory says of chains that are fitted by formula: closed forms, and the chains that each of them holds for."""
