"""training.recipes: a flat TOML file is a whole training, and nothing in it is silently ignored."""

import dataclasses
import json
import subprocess
import sys
import tomllib

import pytest
import tiny
from baseline_bench.analysis.recipe_key import digest_weight_keys
from baseline_bench.core import plugins
from baseline_bench.core.errors import BenchError
from baseline_bench.models import registry
from baseline_bench.training import recipes
from hypothesis import given
from hypothesis import strategies as st

OWN = """\
base = "gemma-2b-it"
trainer = "lora"
task = "gsm8k"
data = "openai/gsm8k"
lr = 1e-4
"""
FOREIGN = """\
from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    rounds: int
    note: str | None = None


def train(job):
    raise NotImplementedError
"""


def write(folder, text, name="mine"):
    """Write a recipe and return its path as a text."""
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    return str(folder / f"{name}.toml")


@pytest.mark.parametrize("name", recipes.list_recipes())
def test_our_recipes_state_every_key_and_open_with_what_they_are_for(name):
    """No default hides behind a recipe of ours: whoever reads the file has read the training."""
    text = recipes.find_recipe_file(name).read_text(encoding="utf-8")
    recipe = recipes.read_recipe(name)
    stated = {key for key, value in recipes.collect_values(recipe).items() if value is not None}
    assert set(tomllib.loads(text)) == stated
    assert text.startswith("# ")
    assert not text.splitlines()[1].startswith("#")
    assert recipe.base in registry.list_names()
    assert recipe.task in plugins.list_names("task")


@pytest.mark.parametrize("name", recipes.list_recipes())
def test_a_recipe_written_and_read_again_is_the_same(name, tmp_path):
    """`bench show recipe` prints a file that trains the same."""
    recipe = recipes.read_recipe(name, ["weight_decay=1e-7"])
    again = recipes.read_recipe(write(tmp_path, recipes.format_recipe(recipe)))
    assert recipes.digest_recipe(again) == recipes.digest_recipe(recipe)
    assert dataclasses.replace(again, name=recipe.name, path=recipe.path, overridden=recipe.overridden) == recipe


TEXT = st.text(st.characters(blacklist_categories=["Cs"]), min_size=1)


@given(base=TEXT, config=TEXT, derived=st.lists(TEXT), lr=st.floats(1e-30, 1e30), shots=st.integers(0, 2**60))
def test_any_value_survives_writing_and_reading(tmp_path_factory, base, config, derived, lr, shots):
    """Quotes, control characters, large and small numbers: the TOML that is written says what was meant."""
    folder = tmp_path_factory.mktemp("recipes")
    recipe = recipes.read_recipe(write(folder, OWN))
    options = dataclasses.replace(recipe.options, lr=lr)
    changed = dataclasses.replace(
        recipe, base=base, config=config, derived_from=tuple(derived), shots=shots, options=options
    )
    again = recipes.read_recipe(write(folder, recipes.format_recipe(changed), "again"))
    assert recipes.collect_values(again) == recipes.collect_values(changed)


@pytest.mark.parametrize("name", plugins.list_names("trainer"))
def test_the_options_read_without_torch_are_the_trainer_s(name):
    """A recipe is read by the class that the trainer is given."""
    assert recipes._find_options_type(name) is plugins.load_trainer(name).Options


@pytest.mark.parametrize("name", recipes.list_recipes())
def test_a_recipe_comes_out_of_json_as_it_went_in(name):
    """A training's process gets the recipe itself, so that a file edited meanwhile changes nothing."""
    recipe = recipes.read_recipe(name, ["lr=1e-7", "max_length=99"])
    assert recipes.restore_recipe(json.loads(json.dumps(recipes.serialise_recipe(recipe)))) == recipe


def test_reading_our_recipes_loads_no_heavy_library():
    """A recipe is shown on a machine without torch, and at once."""
    reading = "[recipes.read_recipe(name) for name in recipes.list_recipes()]"
    code = f"import sys; from baseline_bench.training import recipes; {reading}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"torch", "transformers", "datasets"}.isdisjoint(loaded)


def test_keys_left_out_take_the_defaults_and_the_digest_is_the_same(tmp_path):
    """What counts is the value, not whether it was stated, nor what the file is called."""
    short, long = (
        recipes.read_recipe(write(tmp_path, OWN)),
        recipes.read_recipe(write(tmp_path, OWN + "r = 16\nshots = 0\n", "long")),
    )
    assert (short.shots, short.max_length, short.split, short.derived_from) == (0, 1024, "train", ())
    assert recipes.digest_recipe(short) == recipes.digest_recipe(long)
    assert (short.name, long.name) == ("mine", "long")


def test_a_whole_number_will_do_where_a_number_is_wanted(tmp_path):
    """`epochs = 2` is 2.0."""
    assert recipes.read_recipe(write(tmp_path, OWN + "epochs = 2\n")).options.epochs == 2.0


def test_keys_are_set_from_outside_by_their_type(tmp_path):
    """Numbers, truth, lists and nothing are read as the key's type asks; --base is a key like any other."""
    sets = ["lr=1e-3", "batch=16", "gradient_checkpointing=true", "targets=q_proj, v_proj", "max_steps=none", "shots=1"]
    recipe = recipes.read_recipe(write(tmp_path, OWN + "max_steps = 5\n"), sets, "smollm2-135m-it")
    options = recipe.options
    assert (options.lr, options.batch, options.gradient_checkpointing) == (1e-3, 16, True)
    assert (options.targets, options.max_steps) == (("q_proj", "v_proj"), None)
    assert (recipe.shots, recipe.base) == (1, "smollm2-135m-it")
    assert recipes.digest_recipe(recipe) != recipes.digest_recipe(recipes.read_recipe(str(recipe.path)))


BAD = [
    ("unknown key", OWN + "lrr = 1\n", [], "no key 'lrr' .did you mean 'lr'.*the keys of a recipe.*forward_tokens"),
    ("of another trainer", OWN.replace("lora", "full") + "r = 8\n", [], "no key 'r'"),
    ("number in quotes", OWN.replace("1e-4", '"1e-4"'), [], "lr takes a number: write 1e-4 without quotes"),
    ("text for a number", OWN.replace("1e-4", '"fast"'), [], "lr takes a number, not 'fast'"),
    ("number for a text", OWN.replace('"gsm8k"', "8"), [], "task takes a text, not 8"),
    ("fraction", OWN + "batch = 1.5\n", [], "batch takes a whole number, not 1.5"),
    ("truth for a number", OWN + "batch = true\n", [], "batch takes a whole number, not True"),
    ("number for truth", OWN + "gradient_checkpointing = 1\n", [], "takes true or false, not 1"),
    ("infinite", OWN + "weight_decay = inf\n", [], "weight_decay takes a number, not inf"),
    ("list of numbers", OWN + "targets = [1]\n", [], "targets takes a list of texts"),
    ("table", OWN + "[lora]\nr = 8\n", [], "no key 'lora'"),
    ("table for a value", OWN + "[max_steps]\na = 8\n", [], "max_steps takes a whole number or nothing, not a table"),
    ("not TOML", OWN + "r == 8\n", [], "not TOML .*line 6"),
    ("keys missing", 'trainer = "lora"\n', [], "lacks base, task, data, lr"),
    ("no trainer", 'base = "x"\n', [], "lacks trainer, task, data, lr: name a trainer: full, lora, qlora"),
    ("unknown trainer", OWN.replace("lora", "lorra"), [], "no trainer 'lorra': did you mean 'lora'"),
    ("a name's other case", OWN.replace("lora", "Lora"), [], "no trainer 'Lora'"),
    ("out of range", OWN + "batch = 0\nwarmup = 2.0\n", [], "batch must be 1 or more; warmup must be from 0 to 1"),
    ("no such choice", OWN + 'schedule = "cosin"\n', [], "schedule must be cosine, linear, constant"),
    ("shots below zero", OWN + "shots = -1\n", [], "shots must be 0 or more"),
    (
        "all at once",
        OWN + "batch = 1.5\nlrr = 1\n",
        ["loose"],
        "'loose' is not key=value; batch takes .*; no key 'lrr'",
    ),
    ("set to nothing", OWN, ["batch=none"], "batch takes a whole number, not 'none'"),
    ("set to noise", OWN, ["lr=fast", "base="], "lr takes a number, not 'fast'"),
    ("set unknown", OWN, ["epoch=2"], "no key 'epoch' .did you mean 'epochs'"),
]


@pytest.mark.parametrize(("text", "sets", "told"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_what_is_wrong_in_a_recipe_is_told(tmp_path, text, sets, told):
    """Every mistake is named with the key and what it takes, in one line that opens with the file."""
    with pytest.raises(BenchError, match=told) as caught:
        recipes.read_recipe(write(tmp_path, text), sets)
    assert "\n" not in str(caught.value)
    assert caught.value.way_out


def test_unknown_recipes_and_files_are_told(tmp_path):
    """A name has a nearest one; a path is looked for as it is."""
    with pytest.raises(BenchError, match=r"no recipe 'lora-mian': did you mean 'lora-main'.*bench list recipes"):
        recipes.read_recipe("lora-mian")
    with pytest.raises(BenchError, match=r"no file .*gone.toml"):
        recipes.read_recipe(str(tmp_path / "gone.toml"))
    (tmp_path / "noise.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(BenchError, match="not TOML"):
        recipes.read_recipe(str(tmp_path / "noise.toml"))


def test_a_trainer_of_one_s_own_lies_beside_the_recipe(tmp_path):
    """Its Options say which keys there are and which must be given; a learning rate is none of them here."""
    (tmp_path / "mine.py").write_text(FOREIGN, encoding="utf-8")
    text = OWN.replace('"lora"', '"mine.py"').replace("lr = 1e-4\n", "")
    recipe = recipes.read_recipe(write(tmp_path, text + "rounds = 3\n"))
    assert (recipe.options.rounds, recipe.options.note) == (3, None)
    with pytest.raises(BenchError, match="lacks rounds"):
        recipes.read_recipe(write(tmp_path, text))
    (tmp_path / "mine.py").write_text(FOREIGN.replace("rounds", "shots"), encoding="utf-8")
    with pytest.raises(BenchError, match="has options that every recipe has: shots"):
        recipes.read_recipe(write(tmp_path, text))


def test_paths_start_where_they_were_written(tmp_path, monkeypatch):
    """A path in a recipe starts from the recipe's folder, one on the command line from the current folder."""
    monkeypatch.chdir(tmp_path)
    file = write(tmp_path / "there", OWN.replace("openai/gsm8k", "rows.jsonl"))
    inside, outside = recipes.read_recipe(file), recipes.read_recipe(file, ["data=rows.jsonl"], "./model")
    assert recipes.resolve_path(inside, "data") == str(tmp_path / "there" / "rows.jsonl")
    assert recipes.resolve_path(outside, "data") == str(tmp_path / "rows.jsonl")
    assert recipes.resolve_path(outside, "base") == str(tmp_path / "model")
    assert recipes.resolve_path(inside, "base") == "gemma-2b-it"
    assert recipes.digest_recipe(inside) == recipes.digest_recipe(recipes.read_recipe(file, ["data=rows.jsonl"]))


def test_the_study_is_kept_as_it_was():
    """One learning rate for both, bf16 weights without a master copy, a cosine to nothing: what it is shown against."""
    for name in ("seeds-full-main", "seeds-lora-main"):
        options = recipes.read_recipe(name).options
        assert (options.lr, options.weights, options.final_lr, options.warmup) == (1e-5, "bf16", 0, 0)
        assert (options.optimizer, options.gradient_checkpointing) == ("adamw_8bit", True)
    assert recipes.read_recipe("lora-main").options.lr == 20 * recipes.read_recipe("full-main").options.lr


def test_a_shown_recipe_is_the_file_and_its_digest():
    """What is printed may be saved as a recipe."""
    shown = recipes.describe_recipe("lora-main", ["lr=1e-3"], "smollm2-135m-it")
    recipe = recipes.read_recipe("lora-main", ["lr=1e-3"], "smollm2-135m-it")
    assert shown.startswith(f"{recipes.format_recipe(recipe)}# digest {recipes.digest_recipe(recipe)}\n")
    assert shown.endswith(f" {digest_weight_keys(recipes.collect_values(recipe))}\n")
    assert tomllib.loads(shown)["lr"] == 1e-3


def test_a_margin_is_recorded_and_moves_no_weights(tmp_path):
    """It has a digest of its own only where it is stated, and never among the keys that move weights."""
    plain, stated = (recipes.read_recipe("lora-main", sets) for sets in ((), ("margin=0.01",)))
    assert stated.margin == 0.01
    assert "margin" not in recipes.collect_values(plain)
    assert recipes.collect_values(stated) == {**recipes.collect_values(plain), "margin": 0.01}
    assert digest_weight_keys(recipes.collect_values(stated)) == digest_weight_keys(recipes.collect_values(plain))
    assert recipes.restore_recipe(recipes.serialise_recipe(stated)) == stated


def test_a_later_key_is_recorded_only_where_it_is_not_the_default():
    """Recipes from before it keep their digest; kernels move weights by rounding alone."""
    plain, stated, off = (
        recipes.read_recipe("lora-main", sets) for sets in ((), ("fused_kernels=true",), ("fused_kernels=false",))
    )
    assert recipes.digest_recipe(plain) == recipes.digest_recipe(stated) != recipes.digest_recipe(off)
    assert recipes.collect_values(off) == {**recipes.collect_values(plain), "fused_kernels": False}
    assert not recipes.restore_recipe(recipes.serialise_recipe(off)).options.fused_kernels
    assert len({digest_weight_keys(recipes.collect_values(each)) for each in (plain, off)}) == 1


@pytest.mark.parametrize("margin", ["0", "1", "-0.01", "none", "much"])
def test_a_margin_is_a_share(margin):
    """Above 0 and below 1; none is as if it were left out."""
    if margin == "none":
        assert recipes.read_recipe("lora-main", ("margin=none",)).margin is None
        return
    with pytest.raises(BenchError, match="margin"):
        recipes.read_recipe("lora-main", (f"margin={margin}",))


def test_the_shown_digest_is_of_a_base_s_weights_and_a_trainer_s_code(tmp_path, monkeypatch):
    """Wherever they are; edited code is another recipe."""

    def show(base: str, trainer: str) -> str:
        text = OWN.replace('"lora"', f'"{trainer}"').replace("lr = 1e-4\n", "")
        return recipes.describe_recipe(write(tmp_path, text), ["rounds=1"], base).split()[-1]

    monkeypatch.chdir(tmp_path)
    tiny.build(tmp_path / "model")
    for name in ("mine.py", "yours.py"):
        (tmp_path / name).write_text(FOREIGN, encoding="utf-8")
    one = show("./model", "mine.py")
    assert one == show(str(tmp_path / "model"), "yours.py")
    (tmp_path / "mine.py").write_text(FOREIGN + "# edited\n", encoding="utf-8")
    assert one != show("./model", "mine.py")
