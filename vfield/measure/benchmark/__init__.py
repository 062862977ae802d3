"""The open suite: public clips, the field and what people use today judged on what they never saw, in one run."""
