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
        "Log score, Brier score of the distribution, ROC curve",
        "The log score is the mean log probability of what happened, in nats: perplexity is exp of its negative. The "
        "Brier score of the whole distribution sums the squared distances over all occupations (0 is perfect, 2 the "
        "worst). A ROC curve shows, for every threshold on a probability, how many events it would find and how many "
        "false alarms it would raise.",
    ),
    (
        "Simultaneous interval, beyond chance",
        "Whoever looks at many intervals finds some that miss the truth by chance. Simultaneous intervals are wide "
        "enough that all of them hold at once with the stated confidence; what is called beyond chance was judged in "
        "the same way, for all comparisons together.",
    ),
    (
        "Expected and observed",
        "A model's probabilities, summed over a group of person-years, say how many of them it expects in an "
        "occupation; if it is right, as many came, up to chance. It can be right on average and still know little of "
        "each person, and the other way round.",
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

TERMS_OF_USE = (
    "These are records of real respondents: look at your survey’s terms of use before you pass this page on; "
    "examples = false in the section [report] of the study leaves them out."
)
"""Beside every single career that is no simulated one."""
