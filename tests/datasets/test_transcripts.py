"""Speech with texts: alignment, the encoder, residuals, and what is wrong with a corpus."""

import re

import numpy as np
import pytest
import torch
from packing import folder_of
from test_speech import SIZES, corpus, lj, pcm, speech

from mibench import MibenchError
from mibench.data import split
from mibench.seeds import generator
from mibench_datasets import transcripts
from mibench_datasets.alignment import Size, align, encoded, mean_mels, spoken, train_encoder
from mibench_datasets.mel import SHORT

LETTERS = "abcdefgh"
FRAME = SHORT.hop / SHORT.rate


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    monkeypatch.setenv("MIBENCH_STORE", str(tmp_path / "store"))
    monkeypatch.setitem(transcripts.SIZES, "small", Size(32, 1, 2, 20, 8))


def sentence(chance):
    """A text, its wave and where its letters end, in seconds: each letter is a tone of its own, in silence."""
    letters = [LETTERS[k] for k in chance.integers(len(LETTERS), size=chance.integers(3, 7))]
    lengths = chance.uniform(0.06, 0.16, size=len(letters) + 2)
    tones = [0.0, *(400 * 1.25 ** LETTERS.index(letter) for letter in letters), 0.0]
    parts = [
        np.sin(2 * np.pi * tone * np.arange(round(8000 * length)) / 8000)
        for tone, length in zip(tones, lengths, strict=True)
    ]
    return "".join(letters), np.concatenate(parts), np.cumsum(lengths)[:-1]


def mel_of(wave):
    padded = np.pad(wave, (0, -len(wave) % SHORT.hop))
    return SHORT(torch.from_numpy(padded)[None])[0, 0].T.contiguous()


def test_the_alignment_is_the_best_of_all_that_are_monotonic():
    values = torch.randn(3, 3, 6, generator=generator(0, "values"))
    sizes = [(3, 6), (2, 5), (3, 3)]
    path = align(values, *(torch.tensor(each) for each in zip(*sizes, strict=True)))
    for k, (symbols, frames) in enumerate(sizes):
        ways = [way for way in range(2 ** (frames - 1)) if way.bit_count() == symbols - 1]
        sums = [sum(values[k, (way & ((1 << j) - 1)).bit_count(), j] for j in range(frames)) for way in ways]
        got = path[k, :frames]
        assert got[0] == 0 and got[-1] == symbols - 1 and set(got.diff().tolist()) <= {0, 1}
        torch.testing.assert_close(values[k, got, torch.arange(frames)].sum(), max(sums))


@pytest.mark.slow
def test_boundaries_are_those_of_synthesised_sentences():
    """On sentences that the encoder has not seen, of tones whose places are known; and speech of texts alone is as long."""
    chance = np.random.default_rng(0)
    made = [sentence(chance) for _ in range(150)]
    texts, mels = [encoded(text) for text, _, _ in made], [mel_of(wave) for _, wave, _ in made]
    encoder = train_encoder(texts[:120], mels[:120], Size(64, 2, 2, 150, 16), 0)
    misses, lengths, left = [], [], []
    for text, mel, (_, _, ends) in list(zip(texts, mels, made, strict=True))[120:]:
        mean, path = mean_mels(encoder, text, mel)
        assert set(path.diff().tolist()) <= {0, 1} and path[0] == 0 and path[-1] == len(text) - 1
        left.append(((mel - mean).square().mean() / mel.var()).item())
        misses.append(np.abs((path.diff().nonzero()[:, 0].numpy() + 1) * FRAME - ends).mean())
        lengths.append(len(spoken(encoder, text)) / len(mel))
    assert np.mean(left) < 0.5
    assert np.mean(misses) < 0.03
    assert 0.8 < np.mean(lengths) < 1.2


def digits(count=30, **others):
    """Clips of digits: a tone for each letter of the word."""
    files = {}
    for k in range(count):
        t = np.arange(2400 + 200 * (k % 7)) / 8000
        files[f"recordings/{k % 10}_one_{k}.wav"] = pcm(0.5 * np.sin(2 * np.pi * (300 + 90 * (k % 10)) * t))
    return files | others


@pytest.mark.slow
def test_items_and_conditions_add_up_to_the_mels(tmp_path):
    folder = folder_of(tmp_path / "clips", digits())
    dataset = speech(folder, text="small", frames=16)
    items, (conditions, prompts) = (
        torch.cat(dataset.fixed_split(generator(0, "split"))),
        dataset.conditions(generator(0, "split")),
    )
    assert items.shape == conditions.shape == (30, 1, 40, 16) and torch.equal(prompts, conditions[10:20])
    predicted = speech(folder, text="small", frames=16, durations="predicted").conditions(generator(0, "split"))[1]
    assert predicted.shape == (10, 1, 40, 16) and len(predicted.unique(dim=0)) <= len(prompts.unique(dim=0))
    clips = dataset.clips(generator(0, "split"))
    for k in (0, 15, 29):
        whole = clips[k].mel[clips[k].start :][:16].T
        torch.testing.assert_close(dataset.complete(items, conditions)[k, 0], whole)
    plain = speech(folder, frames=16)
    assert plain.spec()["options"].keys() == dataset.spec()["options"].keys() - {"text"}
    assert split(dataset, 0).members.shape == (10, 1, 40, 16)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"recordings/ten.wav": pcm(np.ones(9))}, "ten.wav has no text: its name does not begin with a digit"),
        (
            {"recordings/7_short_0.wav": pcm(np.sin(np.arange(300.0)))},
            r"7_short_0.wav is too short for its text: 3 frames, 7 symbols; skip_broken=true",
        ),
    ],
)
def test_digits_without_a_text_or_shorter_than_it_are_one_line(tmp_path, files, message):
    folder = folder_of(tmp_path / "clips", digits(29, **files))
    with pytest.raises(MibenchError, match=message) as caught:
        split(speech(folder, text="small", frames=8, crop="random"), 0)
    assert "\n" not in str(caught.value)


def bad_texts():
    good = corpus(top="")
    text = good["metadata.csv"].decode()
    words = re.sub(r"say (\d+)", lambda found: f"say {chr(97 + int(found[1]) % 26)}", text)
    return {
        "1 wavs have no text in metadata.csv, such as wavs/extra.wav": {**good, "wavs/extra.wav": pcm(np.ones(9))},
        "1 of 31 wavs are missing, such as wavs/gone.wav": {**good, "metadata.csv": (text + "gone|x|x").encode()},
        r"LJ001-0003.wav has characters that the text encoder does not know: 3 ß": {
            **good,
            "metadata.csv": words.replace("say d.", "say 3ß.").encode(),
        },
        r"LJ001-0003.wav is too short for its text: \d+ frames, 501 symbols": {
            **good,
            "metadata.csv": words.replace("say d.", "say " * 125).encode(),
        },
    }


@pytest.mark.parametrize(("message", "files"), bad_texts().items())
def test_a_corpus_whose_texts_and_sounds_do_not_agree_is_one_line(tmp_path, message, files):
    with pytest.raises(MibenchError, match=message) as caught:
        split(lj(folder_of(tmp_path, files), text="small", **SIZES), 0)
    assert "\n" not in str(caught.value)
