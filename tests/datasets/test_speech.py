"""Speech: mels, wavs of every kind, clips that cannot be used, and the LJ Speech layout."""

import dataclasses
import io
import json
import math
import re
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
import torch
from packing import folder_of, zip_of
from scipy.io import wavfile

from mibench import MibenchError, UsageError
from mibench.data import nearest, split
from mibench.names import build
from mibench.plugins import load
from mibench.seeds import generator
from mibench_datasets import LJSpeech, Speech
from mibench_datasets.mel import HIFIGAN, SHORT
from mibench_datasets.speech import MELS
from mibench_datasets.wavs import cut, decoded, resampled

BOTH = pytest.mark.parametrize("mel", [HIFIGAN, SHORT], ids=["hifigan", "short"])
SIZES = {"members": 10, "nonmembers": 10, "reference": 10}


def sine(hertz, rate=8000, seconds=0.6, size=0.5):
    return size * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)


def clip(k, rate=8000, seconds=0.6, noise=1e-3):
    """A rising tone in a little noise, another one for each k."""
    t = np.arange(round(rate * seconds)) / rate
    hiss = noise * np.random.default_rng(k).normal(size=len(t))
    return 0.5 * np.sin(2 * np.pi * (200 + 30 * k + 400 * t) * t) * np.hanning(len(t)) + hiss


def pcm(values, rate=8000, width=2):
    """A wav of whole numbers from (L,) or (L, channels) in [−1, 1], by the standard library."""
    frames = np.atleast_2d(values.T).T
    if width == 1:
        whole = np.rint(frames * 127 + 128).astype(np.uint8).tobytes()
    else:
        whole = np.rint(frames * (2 ** (8 * width - 1) - 1)).astype("<i8").reshape(-1, 1).view(np.uint8)[:, :width]
        whole = whole.tobytes()
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(frames.shape[1])
        writer.setsampwidth(width)
        writer.setframerate(rate)
        writer.writeframes(whole)
    return file.getvalue()


def floats(values, rate=8000, kind=np.float32):
    file = io.BytesIO()
    wavfile.write(file, rate, values.astype(kind))
    return file.getvalue()


@pytest.fixture(scope="module")
def clips():
    return {f"speaker{k % 2}/{k:02d}.wav": pcm(clip(k)) for k in range(36)}


def speech(path, **options):
    return Speech(path=str(path), **{**SIZES, **options})


# mels


def fixture_sounds(rate, length):
    t = np.arange(length) / rate
    sweep = 200 + 0.5 * (3000 - 200) * t / t[-1]
    pulse = (np.arange(length) // (length // 8)) % 8 == 3
    return {
        "sine": 0.5 * np.sin(2 * np.pi * 440 * t),
        "chirp": 0.5 * np.sin(2 * np.pi * sweep * t) * np.hanning(length),
        "burst": np.where(pulse, 0.3 * np.sin(np.arange(length) ** 2 * 0.37), 0.0),
    }


@BOTH
def test_stored_mels(mel):
    """Spectrograms of three sounds, stored when the filters were Slaney's formula written out in float64."""
    with np.load(Path(__file__).parent / "mels.npz") as stored:
        for name, wave in fixture_sounds(mel.rate, 8 * mel.hop).items():
            want = stored[f"{'hifigan' if mel is HIFIGAN else 'short'}_{name}"]
            assert abs(mel(torch.from_numpy(wave)[None])[0, 0].numpy() - want).max() < 1e-5


def band(mel, hertz):
    """The band whose filter has its centre nearest, on Slaney's scale: 3 mel per 200 Hz up to 1000 Hz, logarithmic above."""

    def scale(f):
        return f * 3 / 200 if f < 1000 else 15 + math.log(f / 1000) / (math.log(6.4) / 27)

    low, high = scale(mel.low), scale(mel.high)
    return round((scale(hertz) - low) / (high - low) * (mel.bands + 1)) - 1


@BOTH
@pytest.mark.parametrize("hertz", [150, 440, 1000, 2500, 3700])
def test_a_sine_has_its_energy_in_its_band(mel, hertz):
    tone = torch.from_numpy(sine(hertz, mel.rate, 32 * mel.hop / mel.rate))
    item = mel(tone[None])
    assert item.shape == (1, 1, mel.bands, 32) and item.dtype == torch.float32
    want = band(mel, hertz)
    assert ((item[0, 0].argmax(0) - want).abs() <= 1).all()
    energy = mel.undo(item)[0].square()
    near = slice(max(0, want - 3), want + 4)
    assert energy[near].sum() > 0.98 * energy.sum()


@BOTH
def test_magnitudes_satisfy_parseval(mel):
    """Of one frame: Σ |X_k|² over all N bins is N Σ (w x)², both sides of the spectrum counted."""
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 16 * mel.hop)))
    got = mel.magnitude(x)
    assert got.shape == (1, mel.window // 2 + 1, 16)
    pad = (mel.window - mel.hop) // 2
    start = 8 * mel.hop - pad
    frame = x[0, start : start + mel.window] * torch.hann_window(mel.window, dtype=torch.float64)
    power = got[0, :, 8].square() - 1e-9
    both = 2 * power.sum() - power[0] - power[-1]
    torch.testing.assert_close(both, mel.window * frame.square().sum())


def test_an_impulse_is_flat():
    """Its spectrum is 1 on the centre of a frame, so each mel is the sum of a filter, whose area over Hz is 1."""
    x = torch.zeros(1, 16 * 256, dtype=torch.float64)
    x[0, 8 * 256 + 128] = 1
    sums = HIFIGAN(x)[0, 0, :, 8].exp() * HIFIGAN.rate / HIFIGAN.window
    assert (sums[20:] - 1).abs().max() < 0.06  # the lowest filters are narrower than two bins
    assert HIFIGAN(x)[0, 0, :, 0].max() < -10


@BOTH
def test_the_mel_comes_back(mel):
    assert mel.undo(mel(torch.zeros(1, 16 * mel.hop))).max() < 2e-5
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 16 * mel.hop))) / 10
    log = torch.log if mel.log == "clamp" else torch.log10
    floor = 0 if mel.log == "clamp" else mel.floor
    torch.testing.assert_close(log(mel.undo(mel(x)) + floor).float(), mel(x)[:, 0], rtol=0, atol=1e-6)


@BOTH
def test_griffin_lim_sounds_like_the_mel(mel):
    x = torch.from_numpy(np.stack([sine(f, mel.rate, 32 * mel.hop / mel.rate) for f in (330, 1500)]))
    items = mel(x)
    sound = mel.sound(items)
    assert sound.shape == x.shape and sound.dtype == torch.float32
    assert torch.equal(sound, mel.sound(items))
    again = mel(sound)
    assert torch.equal(again[..., 4:-4].argmax(2), items[..., 4:-4].argmax(2))
    spectrum = torch.fft.rfft(sound.double()).abs().argmax(1) * mel.rate / x.shape[1]
    torch.testing.assert_close(spectrum, torch.tensor([330.0, 1500.0]), rtol=0.07, atol=0)


# wavs


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (pcm(clip(1), width=1), 1 / 127),
        (pcm(clip(1), width=2), 2**-14),
        (pcm(clip(1), width=3), 2**-22),
        (pcm(clip(1), width=4), 2**-30),
        (floats(clip(1)), 1e-7),
        (floats(clip(1), kind=np.float64), 0),
        (pcm(np.stack([clip(1), clip(1)], 1)), 2**-14),
        (pcm(np.stack([2 * clip(1), 0 * clip(1)], 1) / 2, width=3) + b"LIST\x04\0\0\0abcd", 0.3),
    ],
    ids=["8", "16", "24", "32", "float", "double", "stereo", "one-sided"],
)
def test_formats_are_scaled_alike(data, error):
    rate, values = decoded(data)
    assert rate == 8000 and values.shape == clip(1).shape and values.dtype == np.float64
    assert abs(values - clip(1)).max() <= error


def test_channels_are_averaged():
    left, right = clip(1), clip(2)
    assert abs(decoded(floats(np.stack([left, right], 1)))[1] - (left + right) / 2).max() < 1e-6


def test_other_rates_are_resampled():
    """One sound at four rates is nearly one item."""
    for rate in (8000, 16000, 11025, 44100):
        want = sine(700, 8000, 0.6)
        got = resampled(sine(700, rate, 0.6), rate, 8000)
        assert abs(len(got) - len(want)) <= 1
        assert abs(got[400:4000] - want[400:4000]).max() < 2e-4
    items = [Speech().item(floats(clip(3, rate, noise=0), rate), 0) for rate in (8000, 16000, 11025, 44100)]
    loud = items[0] > -1.85
    assert loud.sum() > 50
    assert all((one - items[0])[loud].abs().max() < 0.043 for one in items)


@pytest.mark.parametrize("length", [100, 999, 1000, 1001, 3000])
def test_a_cut_holds_the_energy(length):
    x = np.zeros(length)
    middle = length // 3
    x[middle] = 1
    out = cut(x, 1000, None)
    assert len(out) == 1000 and out.sum() == 1
    if length == 3000:
        assert out[500] == 1
    elif length <= 1000:
        assert np.array_equal(np.trim_zeros(out), [1.0])


def test_a_drawn_cut_reaches_both_ends():
    x = np.arange(1.0, 51)
    assert np.array_equal(cut(x, 10, 0.0), x[:10])
    assert np.array_equal(cut(x, 10, 1.0), x[-10:])
    assert np.array_equal(cut(x, 60, 0.0), np.r_[x, np.zeros(10)])
    assert np.array_equal(cut(x, 60, 1.0), np.r_[np.zeros(10), x])


# folders and archives


def test_a_folder_and_a_zip_are_one_dataset(tmp_path, clips):
    folder, packed = folder_of(tmp_path / "clips", clips), zip_of(tmp_path / "clips.zip", clips)
    one, other = speech(folder), speech(packed)
    assert one.spec() == other.spec() and str(tmp_path) not in json.dumps(one.spec())
    data = split(one, 0)
    assert data.shape == (1, 40, 32) and data.fingerprint == split(other, 0).fingerprint
    assert data.fingerprint != split(one, 1).fingerprint
    assert data.data_variance == pytest.approx(1, rel=0.01)
    assert one.modality.space(data.members).shape == (10, 64)
    everything = torch.cat([data.members, data.nonmembers, data.reference]).flatten(1)
    assert len(everything.unique(dim=0)) == 30
    (folder / "speaker0" / "00.wav").write_bytes(pcm(clip(99)))
    assert speech(folder).spec() != other.spec()


def test_the_normalisation_is_that_of_the_members_alone(tmp_path, clips):
    """Another pool of non-members leaves the members as they are; what was normalised comes back."""

    class Louder(Speech):
        def pool(self, chance):
            pool = super().pool(chance)
            order = torch.randperm(30, generator=generator(0, "split"))
            pool[order[10:]] += 5
            return pool

    path = zip_of(tmp_path / "clips.zip", clips)
    data, other = split(speech(path), 0), split(Louder(path=str(path), **SIZES), 0)
    assert torch.equal(data.members, other.members) and data.normalisation == other.normalisation
    assert data.members.mean().abs() < 1e-4 and data.members.std() == pytest.approx(1, abs=1e-4)
    shift, scale = data.normalisation
    torch.testing.assert_close(other.nonmembers, data.nonmembers + 5 / scale)
    torch.testing.assert_close(data.raw(data.members).mean().item(), shift)
    assert nearest(data.raw(data.members), speech(path).pool(generator(0, "pool"))).max() < 1e-4


def test_other_files_do_not_count(tmp_path, clips):
    bare = speech(zip_of(tmp_path / "a.zip", clips))
    more = speech(zip_of(tmp_path / "b.zip", {**clips, "README.md": b"about", "speaker0/notes.txt": b"x"}))
    assert bare.spec() == more.spec()
    assert torch.equal(bare.pool(generator(0, "pool")), more.pool(generator(0, "pool")))


def test_drawn_crops_follow_the_seed(tmp_path):
    """Of a long clip another seed takes another stretch; the energy's stretch stays."""
    path = folder_of(tmp_path, {f"{k}.wav": pcm(clip(k, seconds=2)) for k in range(30)})

    def items(seed, **options):
        pool = speech(path, **options).pool(generator(seed, "pool"))
        return pool[pool.flatten(1).sum(1).sort().indices]

    assert torch.equal(items(0, crop="random"), items(0, crop="random"))
    assert not torch.allclose(items(0, crop="random"), items(1, crop="random"))
    assert torch.equal(items(0), items(1))


def test_options_shape_the_items(tmp_path, clips):
    path = zip_of(tmp_path / "clips.zip", clips)
    assert speech(path, mel="hifigan", frames=64).pool(generator(0, "pool")).shape == (30, 1, 80, 64)
    loud, soft = speech(path), speech(path, peak=False)
    assert loud.pool(generator(0, "pool")).max() > soft.pool(generator(0, "pool")).max()


QUIET = np.random.default_rng(0).normal(size=5000) * 1e-4
GOOD = pcm(clip(0))
NO_FORMAT = b"RIFF" + (40).to_bytes(4, "little") + b"WAVEdata" + (28).to_bytes(4, "little") + bytes(28)
HEADER = GOOD.index(b"data") + 8


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no readable wav"),
        (b"ID3\x04 this is an mp3", "no readable wav"),
        (GOOD[:20], "no readable wav"),
        (GOOD[: HEADER + 1000], "is incomplete"),
        (GOOD[: HEADER - 8], "no readable wav"),
        (pcm(clip(0), rate=1), "sampling rate of 1 Hz"),
        (pcm(clip(0), rate=10**9), "sampling rate of 1000000000 Hz"),
        (GOOD[:22] + b"\0\0" + GOOD[24:], "no readable wav"),
        (NO_FORMAT, "no readable wav"),
        (pcm(np.zeros(0)), "holds no samples"),
        (pcm(np.zeros(5000)), "is silent"),
        (pcm(np.full(5000, 0.5)), "is silent"),
        (floats(QUIET), "is silent"),
        (pcm(sine(15_000, 44_100) * np.hanning(26_460), 44_100), "is silent"),
        (floats(np.r_[clip(0), np.nan]), "not finite"),
        (pcm(clip(0)[:100]), "too short: 12.5 ms, less than a window of 32 ms"),
    ],
)
def test_a_clip_that_cannot_be_used_is_named_or_skipped(tmp_path, clips, data, message):
    files = {**dict(list(clips.items())[:29]), "bad.wav": data}
    path = zip_of(tmp_path / "clips.zip", files)
    with pytest.raises(MibenchError, match=message) as caught:
        split(speech(path), 0)
    text = str(caught.value)
    assert "bad.wav" in text and "clips.zip" in text and "\n" not in text and caught.value.exit_code == 1
    assert not re.search("BytesIO|soundfile|0x|variable", text)
    with pytest.raises(UsageError, match="= 30, but it holds 29 usable clips, 1 skipped"):
        split(speech(path, skip_broken=True), 0)


def test_skipped_clips_are_replaced(tmp_path, clips):
    broken = {name: b"" for name in list(clips)[::9]}
    path = zip_of(tmp_path / "clips.zip", {**clips, **broken})
    data = split(speech(path, skip_broken=True), 0)
    assert [len(part) for part in (data.members, data.nonmembers, data.reference)] == [10, 10, 10]
    (note,) = data.notes
    assert " clips skipped: speaker" in note and ".wav is no readable wav" in note
    with pytest.raises(MibenchError, match=r"\.wav is no readable wav"):
        for seed in range(5):
            speech(path).pool(generator(seed, "pool"))


def test_damaged_headers_never_end_in_a_traceback():
    """Any four bytes of a header changed: a wave or a ValueError."""
    rng = np.random.default_rng(0)
    for _ in range(1500):
        data = bytearray(GOOD)
        for _ in range(rng.integers(1, 5)):
            data[rng.integers(HEADER)] = rng.integers(256)
        try:
            assert np.isfinite(decoded(bytes(data))[1]).all()
        except ValueError as error:
            assert len(str(error)) < 200


def test_too_few_clips_are_counted_before_any_is_read(tmp_path):
    path = folder_of(tmp_path, {f"{k}.wav": b"" for k in range(12)})
    with pytest.raises(UsageError, match="nonmembers \\+ reference = 30, but it holds 12 clips; lower"):
        split(speech(path), 0)


def test_no_wavs_and_no_path(tmp_path):
    with pytest.raises(MibenchError, match=r"holds no \.wav files \(1 other files\)"):
        split(speech(folder_of(tmp_path, {"a.mp3": b"x"})), 0)
    with pytest.raises(UsageError, match="path="):
        split(Speech(), 0)
    with pytest.raises(MibenchError, match="no folder or archive"):
        split(speech(tmp_path / "nowhere"), 0)


# the LJ Speech layout


def corpus(rate=22050, count=30, top="LJSpeech-1.1/"):
    """Tones in the layout of LJ Speech."""
    ids = [f"LJ001-{k:04d}" for k in range(count)]
    lines = "".join(f"{one}|Say “{k}”.|say {k}.\n" for k, one in enumerate(ids))
    files = {f"{top}metadata.csv": lines.encode(), f"{top}README": b"about"}
    return files | {f"{top}wavs/{one}.wav": pcm(clip(k, rate, 1.6), rate) for k, one in enumerate(ids)}


def lj(path, **options):
    return LJSpeech(path=str(path), **{**SIZES, **options})


def test_a_corpus_in_the_lj_speech_layout(tmp_path):
    files = corpus()
    packed = lj(zip_of(tmp_path / "lj.zip", {**files, "LJSpeech-1.1/wavs/unlisted.wav": pcm(clip(50))}))
    data = split(packed, 0)
    assert data.shape == (1, 80, 32) and data.data_variance == pytest.approx(1, rel=0.01)
    unpacked = folder_of(tmp_path / "lj", corpus(top=""))
    assert split(lj(unpacked), 0).fingerprint == data.fingerprint
    assert lj(unpacked).spec() == lj(zip_of(tmp_path / "again.zip", files)).spec()


def bad_lists():
    good = corpus(count=30, top="")
    text = good["metadata.csv"].decode()
    nothing = {name: data for name, data in good.items() if name != "metadata.csv"}
    return {
        "holds no file metadata.csv": nothing,
        "holds 2 files metadata.csv": {**good, "copy/metadata.csv": b"x"},
        r"metadata.csv line 3 is not id\|text": {
            **good,
            "metadata.csv": "\n".join([*text.split("\n")[:2], "LJ001-0002"]).encode(),
        },
        "line 31 repeats 'LJ001-0000' of line 1": {**good, "metadata.csv": (text + text.split("\n")[0]).encode()},
        "1 of 31 wavs are missing, such as wavs/LJ009.wav": {**good, "metadata.csv": (text + "LJ009|x|x").encode()},
        "1 of 31 wavs are missing, such as wavs/../x.wav": {**good, "metadata.csv": (text + "../x|x|x").encode()},
        "is not UTF-8": {**good, "metadata.csv": text.encode("utf-16")},
        "lists no clips": {**good, "metadata.csv": b"\n \n"},
    }


@pytest.mark.parametrize(("message", "files"), bad_lists().items())
def test_a_malformed_corpus_is_one_line(tmp_path, message, files):
    with pytest.raises(MibenchError, match=message) as caught:
        split(lj(folder_of(tmp_path, files)), 0)
    assert "\n" not in str(caught.value)


# the rest of mibench


@pytest.mark.parametrize("pack", [folder_of, pytest.param(zip_of, marks=pytest.mark.slow)], ids=["folder", "zip"])
def test_the_command_line_runs_on_speech(cli, tmp_path, clips, pack):
    path = pack(tmp_path / "clips", clips)
    sizes = "members=10,nonmembers=10,reference=10"
    code, out, err = cli(
        "run", "--defense", "hold3", "--attack", "secmi", "--dataset", f"speech:path={path},{sizes}",
        "--recipe", "network=mlp,steps=20,width=16", "--samples", "100", "--device", "cpu",
    )  # fmt: skip
    assert code == 0, err
    assert "2 of 2 cells done" in out
    for record in (tmp_path / "store" / "records").rglob("*.json"):
        fitted = split(speech(path), 0).normalisation
        assert json.loads(record.read_text())["model"]["normalisation"] == list(fitted)
    code, out, err = cli("samples", "--each", "--out", tmp_path / "drawn")
    assert code == 0, err
    (picture,), (sound,) = ((tmp_path / "drawn").rglob(f"hold3/samples-s0.{kind}") for kind in ("png", "wav"))
    assert picture.read_bytes()[:4] == b"\x89PNG" and str(sound) in out
    rate, wave = wavfile.read(sound)
    assert rate == 8000 and wave.dtype == np.int16 and len(wave) == 8 * (32 * 128 + 1600) and abs(wave).max() > 1000
    assert not wave[32 * 128 :][:1600].any()


def test_the_command_line_names_a_broken_wav(cli, tmp_path, clips):
    path = folder_of(tmp_path / "clips", {**dict(list(clips.items())[:29]), "bad.wav": b"no"})
    code, _, err = cli(
        "run", "--defense", "vp", "--attack", "secmi", "--device", "cpu",
        "--dataset", f"speech:path={path},members=10,nonmembers=10,reference=10",
    )  # fmt: skip
    assert code == 1 and err.count("bad.wav is no readable wav") == 1  # of two cells


def test_labels_name_the_dataset_again(tmp_path):
    one = speech(tmp_path, mel="hifigan", skip_broken=True, crop="random")
    assert build(load(), "dataset", one.label) == one


@pytest.mark.parametrize("module", ["soundfile", "torchaudio"])
def test_a_missing_library_is_one_line_with_a_remedy(tmp_path, clips, monkeypatch, module):
    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    fresh = dataclasses.replace(SHORT)  # SHORT itself may have its filters already
    monkeypatch.setitem(MELS, "short", fresh)
    with pytest.raises(MibenchError, match=rf"speech needs {module}.*: pip install 'mibench\[speech\]'") as caught:
        speech(folder_of(tmp_path, clips)).pool(generator(0, "pool"))
    assert "\n" not in str(caught.value)
    if module == "torchaudio":
        assert f"torchaudio {torch.__version__[:4]} beside torch {torch.__version__[:4]}" in str(caught.value)
