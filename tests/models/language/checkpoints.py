"""Small checkpoints that tests write."""

from pathlib import Path

from laborllm.models.language.scratch import tiny_llama, train_tokenizer
from laborllm.survey.careers import Careers
from laborllm.text.resume import ResumeSettings, write_resumes


def write_checkpoint(careers: Careers, folder: Path, vocabulary: int = 8192) -> Path:
    """A small Llama with random weights and a tokenizer made from the careers."""
    written = write_resumes(careers, ResumeSettings())
    tokenizer = train_tokenizer([resume.text for resume in written], careers.occupations.titles, vocabulary)
    tiny_llama(tokenizer, seed=1).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
