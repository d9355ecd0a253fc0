"""Networks that read whole careers: CAREER, bag of jobs, LSTM."""
