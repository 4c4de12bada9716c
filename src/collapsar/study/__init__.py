"""Records of many chains as a study: arms, statistics and verdicts."""
