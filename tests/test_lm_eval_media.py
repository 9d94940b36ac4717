"""lm-eval's tasks that show pictures or play sounds: prompts and texts as its own models have them."""

import importlib.util
import json
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
import tiny
import tiny_media

from harness import media, plugins, tokens
from harness.cli import main
from harness.errors import BenchError
from harness.mirrors import as_it_lies
from harness.types import Completion, Message, Model, Problem, Sampling, Split

LM_EVAL = importlib.util.find_spec("lm_eval") is not None
pytestmark = pytest.mark.skipif(not LM_EVAL, reason="lm-eval is not installed: pip install 'baseline-bench[lm-eval]'")

TASK = "lm-eval:mmmu_val_accounting"


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_EVALUATE_OFFLINE"):
        monkeypatch.setenv(name, "1")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A model of each family that takes pictures or sounds."""
    place = tmp_path_factory.mktemp("models")
    return {family: tiny_media.build(place / family, family) for family in ("llava", "gemma3", "qwen2_audio")}


def accounting(place, first):
    """Three questions of MMMU's fields, about one picture, three places of two pictures, and a grey one."""
    asked = {"options": "['19 apples', '5 eggs', 'none']", "question_type": "multiple-choice"}
    one, two, three = (tiny_media.picture(first + number, (40 + 10 * number, 60)) for number in range(3))
    empty = {f"image_{number}": None for number in range(1, 8)}
    rows = [
        {**asked, **empty, "question": "<image 1> How many?", "answer": "A", "image_1": one},
        {**asked, **empty, "question": "<image 1> Or <image 2>, and <image 1>?", "answer": "C"}
        | {"image_1": two, "image_2": three},
        {**empty, "question": "Read <image 1>.", "answer": "22.5", "options": "[]", "question_type": "open"}
        | {"image_1": one.convert("L")},
    ]
    tiny_media.hub_folder(place, "MMMU/MMMU", "Accounting", {"validation": rows})


@pytest.fixture(scope="module")
def mirror(tmp_path_factory):
    """Questions about pictures and a sound, in the hub's layout and with the hub's fields."""
    place = tmp_path_factory.mktemp("mirror")
    accounting(place, 1)
    chart = [{"image": tiny_media.picture(1), "query": "Which bar?", "label": ["12"], "human_or_machine": 0}]
    tiny_media.hub_folder(place, "HuggingFaceM4/ChartQA", "default", {"test": chart})
    wave = np.sin(np.arange(16_000) / 8).astype("f4").tolist()
    heard = [{"audio": {"array": wave, "sampling_rate": 16_000}, "transcript": "five apples and two eggs on a tree"}]
    tiny_media.hub_folder(place, "fixie-ai/endpointing-audio", "common_voice_17_0-en", {"train": heard, "test": heard})
    return place


def spoken(folder):
    """A model's tokenizer as we speak to it."""
    return plugins.room("harness.tokenizer").load(model(folder))


def model(folder):
    return Model(folder.name, "folder", None, folder, None, None)


def loaded(folder):
    engine = plugins.engine("transformers")
    return engine.load(model(folder), engine.Options(dtype="float32", device="cpu"))


def said(task, problem, text):
    return task.grade(problem, Completion(text, None, "stop"))


@pytest.mark.parametrize("family", ["llava", "gemma3"])
def test_a_picture_s_answer_is_what_lm_eval_s_own_model_writes(family, folders, mirror):
    """In float32 the very texts of lm-eval's `hf-multimodal`, for one picture, several of them, and a grey one."""
    task = plugins.task(TASK)
    problems = task.problems(Split("test", mirror=mirror))
    speech = spoken(folders[family])
    with as_it_lies(folder := mirror / "MMMU" / "MMMU"):
        theirs = plugins.room("tasks._lm_eval.definition").load("mmmu_val_accounting", str(folder))
    held = plugins.room("lm_eval.models.hf_vlms").HFMultimodalLM(
        pretrained=str(folders[family]), device="cpu", dtype="float32", batch_size=1
    )
    template = {"apply_chat_template": True, "fewshot_as_multiturn": True, "chat_template": held.apply_chat_template}
    theirs.build_all_requests(**template)
    for instance in theirs.instances:
        instance.args[1]["max_gen_toks"] = 24
    wanted = held.generate_until(theirs.instances, disable_tqdm=True)
    requests = [tokens.question(speech.tokenizer, speech.manner, task, each) for each in problems]
    assert [len(request.media) for request in requests] == [1, 3, 1]
    # Some tokenizers of lm-eval's write BOS of themselves; the tiny one does not, as the template has it.
    prompts = [speech.tokenizer.decode(list(request.token_ids)) for request in requests]
    assert prompts == [instance.args[0] for instance in theirs.instances]
    stop_ids = [held.eot_token_id]
    found = dict(loaded(folders[family]).complete(requests, replace(task.SAMPLING, max_tokens=24), stop_ids))
    assert [found[each.id].text for each in problems] == wanted
    assert len(set(wanted)) == 3


def test_another_picture_is_another_answer_and_another_digest(folders):
    """The same words: what differs is seen by the model and by every digest."""
    speech, seen = spoken(folders["llava"]), []
    for seed in (1, 2):
        shown = media.picture(tiny_media.picture(seed))
        task = Shows(shown)
        request = tokens.question(speech.tokenizer, speech.manner, task, task.problems(Split())[0])
        ((_, completion),) = loaded(folders["llava"]).complete([request], task.SAMPLING, speech.manner.stop_ids)
        digest = plugins.room("harness.protocol").digest(task, task.problems(Split()))
        seen.append((completion.token_ids, tokens.prompts_sha256([request]), digest, request.token_ids))
    first, second = seen
    assert all(one != other for one, other in zip(first[:3], second[:3], strict=True))
    assert first[3] == second[3]


def test_a_temperature_is_drawn_by_the_request_s_own_seed(folders):
    """The same answer again whatever was drawn before it; another name is another draw."""
    task, speech = Shows(media.picture(tiny_media.picture(1))), spoken(folders["llava"])
    asked = tokens.question(speech.tokenizer, speech.manner, task, task.problems(Split())[0])
    sampling = Sampling(max_tokens=12, temperature=1.0, seed=3)
    engine = loaded(folders["llava"])
    requests = [replace(asked, id=name) for name in ("one", "two")]
    together = dict(engine.complete(requests, sampling, ()))
    alone = dict(engine.complete(requests[1:], sampling, ()))
    assert together["two"] == alone["two"] != together["one"]


class Shows:
    """A task of one question about one picture."""

    LABEL = "shows@v1"
    READER = "none@v1"
    SAMPLING = Sampling(max_tokens=8)

    def __init__(self, *shown):
        self._shown = shown

    def problems(self, split):
        return [Problem("test-0", "<image>How many?", "1", "1")]

    def messages(self, problem):
        return (Message("user", problem.question),)

    def media(self, problem):
        return self._shown


def test_a_sound_is_heard(folders, mirror):
    """A model that takes sounds is given the samples: transformers' own generate writes the same tokens."""
    task = plugins.task("lm-eval:common_voice_en,bleu=30")
    problems = task.problems(Split("test", mirror=mirror))
    speech, folder = spoken(folders["qwen2_audio"]), folders["qwen2_audio"]
    request = tokens.question(speech.tokenizer, speech.manner, task, problems[0])
    assert [(each.kind, each.rate, len(each.data)) for each in request.media] == [("audio", 16_000, 64_000)]
    ((_, completion),) = loaded(folder).complete([request], replace(task.SAMPLING, max_tokens=12), ())
    transformers = plugins.room("transformers")
    processor = transformers.AutoProcessor.from_pretrained(folder)
    text = speech.tokenizer.decode(list(request.token_ids))
    heard = media.opened(request.media[0])
    inputs = processor(text=text, audio=[heard], sampling_rate=16_000, return_tensors="pt")
    network = transformers.AutoModelForMultimodalLM.from_pretrained(folder).eval()
    written = network.generate(**inputs, max_new_tokens=12, do_sample=False, pad_token_id=0)
    assert list(completion.token_ids) == written[0, inputs["input_ids"].shape[1] :].tolist()
    verdicts = [said(task, problems[0], text).correct for text in (problems[0].solution, "something else")]
    assert verdicts == [True, False]


def test_pictures_are_no_part_of_what_judges(mirror):
    """The gold is the document without them; a metric's function is counted by its name."""
    problems = plugins.task(TASK).problems(Split("test", mirror=mirror))
    assert all("image_1" not in json.loads(problem.answer)["lm-eval document"] for problem in problems[:2])
    verdicts = [said(plugins.task(TASK), problems[0], text).correct for text in ("A", "(A) it is", "B")]
    assert verdicts == [True, True, False]
    task = plugins.task("lm-eval:chartqa,relaxed_accuracy")
    (problem,) = task.problems(Split("test", mirror=mirror))
    found = [said(task, problem, f"Final Answer: {text}").correct for text in ("12", "12.1", "15")]
    assert found == [True, True, False]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def words(folder, mirror, *more):
    return ["baseline", str(folder), "--task", TASK, "--datasets", str(mirror), *more]


def test_a_row_about_pictures(folders, mirror, here, capfd):
    """Scored, shown, verified token for token and against lm-eval; other pictures are no longer this protocol."""
    asked = words(folders["llava"], mirror, "--engine", "transformers", "-o", "dtype=float32", "-o", "solutions=true")
    assert main([*asked, "--run", "run"]) == 0
    (path,) = (here / "leaderboards").glob("*/*.json")
    assert json.loads(path.read_text())["result"]["counts"]["total"] == 3
    assert "solutions" not in json.loads(path.read_text())["result"]
    again = ["verify", "--level", "2", str(path), "--model", str(folders["llava"]), "--datasets"]
    assert main([*again, str(mirror)]) == 0
    assert main(["verify", "--against", "lm-eval", str(path)]) == 0
    assert main(["show", "run"]) == 0
    assert "<image> How many?" in capfd.readouterr().out
    accounting(here / "others", 9)
    assert main([*again, str(here / "others")]) == 1
    assert "protocol are" in " ".join(capfd.readouterr().out.split())


def test_who_takes_no_pictures_is_told_before_anything_is_loaded(folders, mirror, here, tmp_path, capfd):
    """An engine, and a model of text alone."""
    assert main(words(folders["llava"], mirror, "--engine", "scripted")) == 1
    assert "shows pictures or plays sounds, which the engine 'scripted' does not" in capfd.readouterr().err
    blind = tiny.build(tmp_path / "blind")
    assert main(words(blind, mirror, "--engine", "transformers")) == 1
    assert "the model takes no pictures or sounds" in capfd.readouterr().err
    assert not (here / "leaderboards").exists()


def test_a_question_with_more_pictures_than_places_is_named(folders):
    """Some processors would let it pass, and the model fail in the midst of things."""
    task, speech = Shows(*(media.picture(tiny_media.picture(seed)) for seed in (1, 2))), spoken(folders["llava"])
    with pytest.raises(BenchError, match="test-0 shows or plays 2 pictures or sounds, and its words have 1 places"):
        tokens.question(speech.tokenizer, speech.manner, task, task.problems(Split())[0])


def test_a_picture_that_leaves_no_room_for_an_answer_is_named(folders):
    """The words alone would leave it."""
    task, speech = Shows(media.picture(tiny_media.picture(0))), spoken(folders["llava"])
    request = tokens.question(speech.tokenizer, speech.manner, task, task.problems(Split())[0])
    engine = loaded(folders["llava"])
    engine.context = 30
    with pytest.raises(BenchError, match=r"test-0 has \d+ tokens with what it shows or plays, and 22 fit beside"):
        list(engine.complete([request], task.SAMPLING, ()))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "P", "CMYK"])
def test_a_picture_travels_without_loss(mode):
    """What is opened is what was shown; a palette or CMYK as the colours that they stand for."""
    image = tiny_media.picture(5, mode=mode)
    found = media.opened(media.picture(image))
    wanted = image if mode not in ("P", "CMYK") else image.convert("RGB")
    assert (found.mode, found.size, found.tobytes()) == (wanted.mode, wanted.size, wanted.tobytes())


def test_the_digest_of_a_picture_is_of_its_pixels():
    """Not of its file: another encoder writes other bytes. Height and width are part of it."""
    grey = [tiny_media.picture(1, size, "L").point(lambda _: 7) for size in ((4, 9), (9, 4), (4, 9))]
    first, turned, again = (media.picture(image).sha256 for image in grey)
    assert first == again != turned


def test_pillow_is_no_part_of_the_core():
    """What a request is made of loads no library of pictures."""
    code = "import sys, harness.types, harness.tokens; sys.exit('PIL' in sys.modules)"
    assert plugins.room("subprocess").run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("family", "own"), [("llava", "<image>"), ("gemma3", "<start_of_image>")])
def test_a_model_without_a_template_has_its_own_token_where_a_picture_is(family, own, folders, tmp_path):
    """The plain text's `<image>` is no word of a Gemma's; its answer is one to the picture."""
    folder = tmp_path / family
    shutil.copytree(folders[family], folder)
    (folder / "chat_template.jinja").unlink()
    speech, seen = spoken(folder), []
    for seed in (1, 2):
        task = Shows(media.picture(tiny_media.picture(seed)))
        request = tokens.question(speech.tokenizer, speech.manner, task, task.problems(Split())[0])
        told = speech.tokenizer.decode(list(request.token_ids))
        assert (
            told.removeprefix("<|im_start|>") == f"Question: {own}How many?\nAnswer:"
        )  # Gemma's BOS, a tiny one's here
        ((_, completion),) = loaded(folder).complete([request], task.SAMPLING, ())
        seen.append(completion.token_ids)
    assert seen[0] != seen[1]


def test_a_task_with_pictures_is_not_trained_on(tmp_path):
    """Its rows would be words alone, and nobody would be told."""
    (tmp_path / "shows.py").write_text(
        "from tasks.word_problems import LABEL, READER, SAMPLING, grade, messages, problems\n"
        "def media(problem):\n    return ()\n"
    )
    recipe = plugins.room("harness.training.recipes").read("full-main", [f"task={tmp_path / 'shows.py'}"])
    with pytest.raises(BenchError, match="shows pictures or plays sounds, which no trainer here takes"):
        plugins.room("harness.training.data").load(recipe, None)


def test_the_head_of_a_model_that_takes_pictures_is_found(folders, here, mirror, capfd):
    """It stands below the language model there, and was told to be missing."""
    assert main(["doctor", str(folders["llava"]), "--task", TASK, "--datasets", str(mirror), "--answers", "0"]) in (
        0,
        1,
    )
    assert "lm_head.weight is missing" not in capfd.readouterr().out
