"""What the words of the page mean, in two sentences each, and what its numbers do not say."""

DEFINITIONS = (
    (
        "Perplexity",
        "The exponential of the average number of nats a model needs for what happened: exp(−mean log "
        "probability of the realised occupation), over all test person-years, a person's first year included. A "
        "perplexity of 8 means as much uncertainty as a free choice among 8 equally likely occupations; 1 is "
        "certainty.",
    ),
    (
        "Raw, normalised, mass",
        "A language model gives each title the product of its tokens' probabilities (raw) and so spends some "
        "probability on strings that are no occupation; what remains on the closed list is its mass, shown as "
        "the geometric mean. Normalised = raw ÷ mass, which compares like with like, and is meant wherever "
        "nothing else is said.",
    ),
    (
        "Paired difference",
        "The difference between two models' perplexities on the same people, with an interval from resampling "
        "people. Because easy and hard careers are easy and hard for both, it is known far better than either "
        "level: two overlapping intervals of levels do not mean that the models are alike.",
    ),
    (
        "First year, stay, move",
        "A person-year is a stay if the occupation is the one last observed and a move if it is another, states "
        "outside employment included. The first observed year has nothing to compare with and is predicted from "
        "the covariates alone.",
    ),
    (
        "Floor, baseline, share of the attainable gain",
        "In a simulated population the true probabilities are known, and their perplexity is the floor; the "
        "baseline is the model that gains are counted from. The share is (log perplexity of the baseline − of "
        "the model) ÷ (log perplexity of the baseline − of the floor).",
    ),
    (
        "AUC, Brier score, calibration error",
        "Of the probability of moving: AUC is the chance that a mover gets a higher one than a stayer, the "
        "Brier score its mean squared distance from what happened (0 or 1). The calibration error is the mean "
        "distance between predicted and observed shares over the bins of the reliability diagram.",
    ),
    (
        "Standard errors and intervals",
        "They come from resampling test people with all their years, since years of one person are not "
        "independent. They hold the fitted models fixed: the luck of the training sample is not in them.",
    ),
)
"""(word, what it means)."""

CAVEATS = (
    "Perplexities of different samples or of different lists of occupations may not be compared: people, years "
    "and states decide how hard the task is. Compare models within this page only.",
    "These numbers describe how predictable careers are, given what is in the data. They identify no causal "
    "effect of education, gender or any other covariate.",
)
"""What no reader may conclude."""
