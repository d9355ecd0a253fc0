"""Made-up families of the PSID: who heads one, who marries, who is a child before, who is listed without being there.

Everybody with a career row in a wave is the head or the spouse of a family then. People who marry live in one region
and are about of an age. A person without a row may be a child of the family, in an institution, moved out, dead, or in
no family: a reader that takes any of these for a head or a spouse reads careers that nobody had.
"""

from dataclasses import dataclass

import numpy as np

from laborllm.errors import LaborLLMError
from laborllm.survey.careers import GENDERS
from laborllm.survey.simulated.population import Population

ABSENT, HEAD, SPOUSE, PARTNER, CHILD = range(5)
"""Roles; a partner is a spouse without a marriage licence, coded apart by the survey."""
MARRIED, UNMARRIED, HER_TURN = 0.9, 0.15, 0.3
"""Shares: of people who ever marry, of couples without a licence, of couples whose head becomes the woman."""
REFERENCE_PERSONS = 2017
"""From this wave on the head is called reference person, and may be the woman of a couple."""
WEDDING_AGES, LONGEST = (20, 31), 40
FARTHEST = 12
"""Years of birth between the two of a couple at most: less than between parents and children."""
PARENT_AGES = (20, 36)
CHILD_UNTIL = 25
INSTITUTION, MOVED_OUT, DIED = 51, 71, 81
"""First sequence numbers of those who are listed with a family without living in it."""
IDS_1968, SAMPLE_NUMBERS, LAST_NUMBER = 9000, 170, 999
"""Families of 1968; the number from which people who married into one are counted; the last number."""
LAST_SEQUENCE = 20
SECOND = 0.05
"""Share of couples whose head has the sequence number 2 and whose spouse has 1."""
LISTED = 0.7
"""Share of those who miss a wave that their spouse answers and are listed with the family."""


@dataclass(frozen=True)
class Families:
    """Where each person stands in each wave.

    Attributes:
        id_1968: number of the family of 1968 that a person belongs to or married into, shape (people,).
        number: the person's number in it, shape (people,).
        interview: number of the family in the wave, 0 for none, shape (people, waves).
        sequence: 1 to 20 present, 51 institution, 71 moved out, 81 died, 0 in no family, shape (people, waves).
        role: ``ABSENT``, ``HEAD``, ``SPOUSE``, ``PARTNER`` or ``CHILD``, shape (people, waves).
    """

    id_1968: np.ndarray
    number: np.ndarray
    interview: np.ndarray
    sequence: np.ndarray
    role: np.ndarray

    @property
    def person(self) -> np.ndarray:
        """The survey's id: 1968 number times 1000 plus the person's number, shape (people,)."""
        return self.id_1968 * 1000 + self.number


@dataclass(frozen=True)
class _Couples:
    """Positions of the man and the woman, years of wedding and parting, whether licensed, whether she comes to head.

    Each of shape (couples,).
    """

    man: np.ndarray
    woman: np.ndarray
    wedding: np.ndarray
    parting: np.ndarray
    licence: np.ndarray
    hers: np.ndarray

    def lasts(self, rounds: np.ndarray) -> np.ndarray:
        """Whether the couple is one in a wave, shape (couples, waves)."""
        return (self.wedding[:, None] <= rounds) & (rounds < self.parting[:, None])

    def head(self, rounds: np.ndarray) -> np.ndarray:
        """Position of who heads the couple in a wave, shape (couples, waves)."""
        return np.where(self.hers[:, None] & (rounds >= REFERENCE_PERSONS), self.woman[:, None], self.man[:, None])

    def spouse(self, rounds: np.ndarray) -> np.ndarray:
        """Position of the other one, shape (couples, waves)."""
        return self.man[:, None] + self.woman[:, None] - self.head(rounds)


def draw_families(population: Population, asked: np.ndarray, rng: np.random.Generator) -> Families:
    """Put people into families, wave by wave.

    Args:
        population: the people and the waves in which they have a row.
        asked: waves in which a spouse's race is asked, bool, shape (waves,). Nobody marries who is in none of them.
        rng: the source of randomness.

    Raises:
        LaborLLMError: more people than person numbers.
    """
    couples = _couples(population, asked, rng)
    parent = _parents(population, couples, rng)
    id_1968, number = _numbers(population, couples, parent)
    role, head_of, has_spouse = _roles(population, couples)
    luck = np.where(role == HEAD, rng.random(role.shape), np.inf)
    place = luck.argsort(axis=0).argsort(axis=0) + 1  # (people, waves): 1 … families among the heads
    interview = np.where(role != ABSENT, np.take_along_axis(place, head_of, axis=0), 0)
    swapped = np.take_along_axis((rng.random(role.shape) < SECOND) & has_spouse, head_of, axis=0)
    first = (role == HEAD) != swapped
    sequence = np.where(role == ABSENT, 0, np.where(first, 1, 2))
    families = Families(id_1968=id_1968, number=number, interview=interview, sequence=sequence, role=role)
    _list_children(families, population, parent)
    _list_absent(families, population, couples, rng)
    return families


def _couples(population: Population, asked: np.ndarray, rng: np.random.Generator) -> _Couples:
    """Marry men and women of a region in the order of their years of birth, with some noise."""
    born = population.birth_year
    age = born + rng.normal(0, 2, len(born))
    eligible = (rng.random(len(born)) < MARRIED) & (population.interviewed & asked).any(axis=1)
    female = population.gender == GENDERS.index("female")
    sides: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for region in np.unique(population.region):
        inside = eligible & (population.region == region)
        both = [rng.permutation(np.flatnonzero(inside & sex)) for sex in (~female, female)]
        for side, people in zip(sides, both, strict=True):
            chosen = people[: min(map(len, both))]
            side.append(chosen[np.argsort(age[chosen], kind="stable")])
    man, woman = (np.concatenate(side) for side in sides)
    near = np.abs(born[man] - born[woman]) <= FARTHEST
    man, woman = man[near], woman[near]
    wedding = np.maximum(born[man], born[woman]) + rng.integers(*WEDDING_AGES, len(man))
    return _Couples(
        man=man,
        woman=woman,
        wedding=wedding,
        parting=wedding + rng.integers(1, LONGEST, len(man)),
        licence=rng.random(len(man)) >= UNMARRIED,
        hers=rng.random(len(man)) < HER_TURN,
    )


def _parents(population: Population, couples: _Couples, rng: np.random.Generator) -> np.ndarray:
    """Position of a parent, old enough, of all but those who married into a family; -1 for none; shape (people,)."""
    born = population.birth_year
    order = np.argsort(born, kind="stable")
    low, high = (np.searchsorted(born[order], born - years) for years in (PARENT_AGES[1], PARENT_AGES[0] - 1))
    chosen = low + (rng.random(len(born)) * (high - low)).astype(np.int64)
    parent = np.where(high > low, order[np.minimum(chosen, len(born) - 1)], -1)
    parent[couples.woman] = -1
    return parent  # (people,)


def _numbers(population: Population, couples: _Couples, parent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """1968 numbers and person numbers: a dynasty shares the first; women of couples marry in, from number 170 on."""
    people = np.arange(len(parent))
    up = np.where(parent >= 0, parent, people)
    up[couples.woman] = couples.man
    while (up[up] != up).any():  # a parent is older by more than spouses differ, so this ends
        up = up[up]
    id_1968 = np.unique(up, return_inverse=True)[1] % IDS_1968 + 1
    married_in = np.isin(people, couples.woman)
    order = np.lexsort((population.birth_year, married_in, id_1968))
    rank = np.empty_like(people)
    rank[order] = _rank(id_1968[order] * 2 + married_in[order])
    number = np.where(married_in, SAMPLE_NUMBERS, 1) + rank
    if number.max(initial=0) > LAST_NUMBER or (number[~married_in] >= SAMPLE_NUMBERS).any():
        raise LaborLLMError(f"survey.people is {len(people)}: more than the PSID has person numbers for; ask for fewer")
    return id_1968, number


def _rank(groups: np.ndarray) -> np.ndarray:
    """Place of each entry within its run of equal entries, from 0, shape of ``groups``."""
    place = np.arange(len(groups))
    begins = np.append(True, groups[1:] != groups[:-1])[: len(groups)]
    return place - np.maximum.accumulate(np.where(begins, place, 0))


def _roles(population: Population, couples: _Couples) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Role, position of the head of the family, and whether the person heads a couple; each (people, waves)."""
    rounds = population.rounds
    role = np.where(population.interviewed, HEAD, ABSENT)
    head_of = np.broadcast_to(np.arange(len(role))[:, None], role.shape).copy()
    has_spouse = np.zeros(role.shape, dtype=bool)
    both = population.interviewed[couples.man] & population.interviewed[couples.woman] & couples.lasts(rounds)
    couple, wave = np.nonzero(both)
    head, spouse = couples.head(rounds)[couple, wave], couples.spouse(rounds)[couple, wave]
    role[spouse, wave] = np.where(couples.licence[couple], SPOUSE, PARTNER)
    head_of[spouse, wave] = head
    has_spouse[head, wave] = True
    return role, head_of, has_spouse


def _list_children(families: Families, population: Population, parent: np.ndarray) -> None:
    """Enter the young who have no row as children where a parent is; the rows of others stay as they are."""
    age = population.rounds - population.birth_year[:, None]  # (people, waves)
    child = (families.role == ABSENT) & (age >= 0) & (age < CHILD_UNTIL) & (parent >= 0)[:, None]
    child &= population.interviewed[parent]
    wave, person = np.nonzero(child.T)
    interview = families.interview[parent[person], wave]
    order = np.lexsort((population.birth_year[person], interview, wave))
    wave, person, interview = wave[order], person[order], interview[order]
    sequence = 3 + _rank(wave * (interview.max(initial=0) + 1) + interview)
    fits = sequence <= LAST_SEQUENCE
    where = (person[fits], wave[fits])
    families.interview[where], families.sequence[where] = interview[fits], sequence[fits]
    families.role[where] = CHILD


def _list_absent(families: Families, population: Population, couples: _Couples, rng: np.random.Generator) -> None:
    """Enter some who miss a wave that their spouse answers: in an institution, moved out, or dead if never back."""
    rounds = population.rounds
    later = np.logical_or.accumulate(population.interviewed[:, ::-1], axis=1)[:, ::-1]  # (people, waves)
    heads = couples.head(rounds)
    for person, other in ((couples.man, couples.woman), (couples.woman, couples.man)):
        missing = (families.role[person] == ABSENT) & population.interviewed[other]
        missing &= couples.lasts(rounds) & (rng.random(missing.shape) < LISTED)
        couple, wave = np.nonzero(missing)
        where = (person[couple], wave)
        out = np.where(later[where], MOVED_OUT, DIED)
        families.sequence[where] = np.where(rng.random(len(couple)) < 0.5, INSTITUTION, out)
        families.interview[where] = families.interview[other[couple], wave]
        spouse = np.where(couples.licence[couple], SPOUSE, PARTNER)
        families.role[where] = np.where(heads[couple, wave] == person[couple], HEAD, spouse)
