"""Hidden states: what the head of a network reads, row by row."""

import numpy as np
import torch

from laborllm.models.networks.sequence_model import SequenceModel, sequences
from laborllm.models.networks.sequence_settings import BagOfJobsSettings, CareerSettings, LSTMSettings, SequenceTraining
from laborllm.models.networks.sequence_training import from_outputs
from laborllm.models.probabilities import normalise
from laborllm.survey.careers import Careers

TRAINING = SequenceTraining(updates=2, evaluations=1)


def test_the_head_on_the_states_is_the_prediction(few_careers: Careers, tmp_path) -> None:
    for settings in (CareerSettings(training=TRAINING), LSTMSettings(training=TRAINING)):
        model = SequenceModel(settings, tmp_path / settings.kind)
        model.fit(few_careers, few_careers)
        states = model.states(few_careers)
        assert states is not None
        assert len(states) == len(few_careers)
        network = model.network
        with torch.inference_mode():
            previous = torch.from_numpy(sequences(few_careers, model.words).previous)
            outputs = network.output(torch.from_numpy(states))
            answer = normalise(from_outputs(network, outputs, previous).numpy())[0]
        np.testing.assert_allclose(answer, model.predict(few_careers).log_probabilities, atol=1e-5)


def test_a_network_without_a_linear_head_has_none(few_careers: Careers, tmp_path) -> None:
    model = SequenceModel(BagOfJobsSettings(width=4, training=TRAINING), tmp_path)
    model.fit(few_careers, few_careers)
    assert model.states(few_careers) is None
