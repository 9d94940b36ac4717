"""What a user may get wrong, one command a row, and what the one line that answers must tell."""

from dataclasses import dataclass, field

from baseline_bench.models.weights import SINGLE_FILE


@dataclass(frozen=True)
class Row:
    """One bad input.

    Attributes:
        words: the command line; {names} are those of the fixture `world`.
        told: what the one line must contain, among it the way out.
        missing: libraries that are not installed.
        disk: bytes that a file may have before the disk is full.
        environment: of a process of its own, for what libraries read only once.
        began: generation had begun, so that its run may be kept.
    """

    what: str
    words: str
    told: tuple[str, ...]
    missing: tuple[str, ...] = ()
    disk: int | None = None
    environment: dict[str, str] = field(default_factory=dict)
    began: bool = False


ASK = "--task word-problems --limit 4 --engine scripted"
SCORE = "score {tiny} " + ASK
REAL = "score {tiny} --task word-problems --limit 4 --engine transformers"
SERVED = "score {tiny} --task word-problems --limit 4 --engine openai -o tries=1 -o endpoint="
HUB = f"baseline org/gated {ASK}"
ENDPOINT, NOWHERE = {"HF_ENDPOINT": "{hub}"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}
OFFLINE = {"HF_HUB_OFFLINE": "1"}
DATA = "score {tiny} --engine scripted --limit 1 --datasets {world}"
TRAIN = "train {world}/rows.toml --cache {caches}"
SHARDED = f"{TRAIN} --gpus 2 --set sharding=fsdp --set optimizer=adamw_8bit"
STUDY = TRAIN.replace("train ", "train-and-score ")
TWICE = STUDY.replace("rows.toml", "rows.toml {world}/rows.toml")
PROTOCOL = ("is not the completions protocol", "check the endpoint")
TABLE = (
    Row("unknown model", f"baseline smolm2-135m-it {ASK}", ("did you mean 'smollm2-135m-it'?",)),
    Row("unknown task", "score {tiny} --task word-prolems", ("did you mean 'word-problems'?", "bench list tasks")),
    Row("unknown engine", "score {tiny} --task word-problems --engine script", ("did you mean 'scripted'?",)),
    Row("a name with a line break", f"score a\x85b\x1b[2J {ASK}", (r"no folder a b\u{1b}[2J",)),
    Row("vllm is missing", "score {tiny} --engine vllm", ("[vllm]'",), ("vllm",)),
    Row("httpx2 is missing", "score {tiny} --engine openai", ("[openai]'",), ("httpx2",)),
    Row("torch is missing", "score {tiny} --engine transformers", ("[transformers]'",), ("torch",)),
    Row("no tokenizers", SCORE, ("[transformers]'",), ("transformers",)),
    Row(
        "gguf is missing",
        f"baseline smollm2-135m-it-q4_1 {ASK} --cache {{world}}/empty",
        ("[transformers]'",),
        ("gguf",),
    ),
    Row("cairosvg is missing", "report --format pdf", ("[figures]'",), ("cairosvg",)),
    Row("unreachable hub", HUB, ("cannot be reached", "name a folder instead"), environment=NOWHERE),
    Row("the hub is forbidden", HUB, ("is not in the hub's cache", "name a folder instead"), environment=OFFLINE),
    Row("gated model", HUB, ("accept the licence", "hf auth login"), environment=ENDPOINT),
    Row("hub's cache is a file", HUB, ("cannot use", "HF_HOME"), environment={**ENDPOINT, "HF_HOME": "{words}"}),
    Row("unreachable data set", "score {tiny}", ("cannot load openai/gsm8k", "--datasets DIR"), environment=OFFLINE),
    Row("no folder", f"score {{world}}/none {ASK}", ("no folder", "`bench list models`")),
    Row("folder without config", f"score {{no_config}} {ASK}", ("config.json is missing",)),
    Row("folder without weights", f"score {{no_weights}} {ASK}", ("holds no weights (model.safetensors",)),
    Row("folder without tokenizer", f"score {{no_tokenizer}} {ASK}", ("the tokenizer is missing",)),
    Row("pickled weights", f"score {{pickled}} {ASK}", ("safetensors only", "save_pretrained")),
    Row("truncated weights", f"score {{cut}} {ASK}", ("is truncated", "again")),
    Row("adapter without its base's name", f"score {{adapter}} {ASK}", ("does not name its base", "--base MODEL")),
    Row("adapter as a model", f"baseline {{adapter}} {ASK}", ("an adapter, not a whole model", "bench merge")),
    Row(
        "config of another model",
        REAL.replace("tiny", "deep"),
        ("[weights-missing] config.json asks for 9 tensors", "restore"),
    ),
    Row("torn tokenizer", f"score {{torn_tokenizer}} {ASK}", ("tokenizer.json: not JSON", "copy it from the base")),
    Row("torn template", f"score {{torn_template}} {ASK}", ("the chat template", "restore it")),
    Row(
        "prompt longer than the context", f"score {{short}} {ASK}", ("must fit into a context of 200", "longer context")
    ),
    Row(
        "no such mirror",
        "score {tiny} --engine scripted --datasets {world}/none",
        ("no openai/gsm8k", "--datasets DIR"),
    ),
    Row("empty data set", f"{DATA}/empty", ("openai/gsm8k", "--datasets DIR"), environment=OFFLINE),
    Row("unparsable data set", f"{DATA}/unparsable", ("Parquet magic bytes", "--datasets DIR"), environment=OFFLINE),
    Row("missing columns", f"{DATA}/columns", ("lacks the columns answer", "it has: question, solution")),
    Row("unreadable gold answer", f"{DATA}/gold", ("no readable '#### N'", "test-1", "correct")),
    Row("limit 0", SCORE.replace("4", "0"), ("--limit 0 is out of range", "from 1 to 256")),
    Row("limit below 0", SCORE.replace("4", "-1"), ("--limit -1 is out of range", "from 1 to 256")),
    Row("limit beyond the task", SCORE.replace("4", "257"), ("--limit 257 is out of range", "from 1 to 256")),
    Row("unknown option", f"{SCORE} -o pase=1", ("did you mean 'pace'?", "correct the -o options")),
    Row("option of another kind", f"{REAL} -o batch_size=few", ("takes a whole number or none", "correct")),
    Row("option out of range", f"{REAL} -o threads=-1", ("threads must be 1 or more",)),
    Row("no such device", f"{REAL} -o device=cpu:x", ("give -o device=",)),
    Row("no script", f"{SCORE} -o script={{world}}/none", ("no script", "give a JSONL file")),
    Row("unparsable script", f"{SCORE} -o script={{words}}", ("line 1 is not a scripted answer", 'write {"id"')),
    Row("runs in a file", f"{SCORE} --runs {{words}}", ("cannot write", "make it writable")),
    Row("run is a file", f"{SCORE} --run {{words}}", ("cannot write", "make it writable")),
    Row("leaderboards in a file", f"{SCORE} --leaderboards {{words}}", ("cannot write", "same command"), began=True),
    Row("cache is a file", f"baseline smollm2-135m-it-q4_1 {ASK} --cache {{words}}", ("cannot make", "--cache DIR")),
    Row("full disk at once", SCORE, ("cannot write runs/", "free some space"), disk=500),
    Row("full disk at an answer", f"{SCORE} -o script={{script}}", ("cannot write runs/",), disk=2000, began=True),
    Row("full disk at the entry", SCORE, ("cannot write runs/", "same command again"), disk=2000, began=True),
    Row("GPU out of memory", SCORE.replace("scripted", "crowded"), ("-o batch_size=32",)),
    Row("no server", SERVED + "http://127.0.0.1:9/v1", ("start the server", "-o endpoint=")),
    Row("server of web pages", SERVED + "{server}/page/v1", PROTOCOL),
    Row("server without an answer", SERVED + "{server}/choices/v1", PROTOCOL),
    Row("server that refuses", SERVED + "{server}/refuse/v1", ("refused with 400", "nothing was graded")),
    Row("server of another model", SERVED + "{server}/choices/v1 -o served=x", ("serves m", "-o served=NAME")),
    Row("no task file", "score {tiny} --task ./none.py", ("no file none.py", "word-problems")),
    Row(
        "task file without a contract",
        "score {tiny} --task {world}/half.py",
        ("lacks READER", "harness/core/contracts.py"),
    ),
    Row(
        "task with one id twice",
        "score {tiny} --engine scripted --task {world}/twice.py",
        ("'a' twice", "make ids unique"),
    ),
    Row("no recipe", "train lora-mian --cache {caches}", ("did you mean 'lora-main'?", "bench list recipes")),
    Row("no recipe file", "train {world}/none.toml", ("no file", "give the path of a recipe")),
    Row("recipe is no TOML", "train {world}/words.toml", ("not TOML", "quote texts")),
    Row("recipe lacks keys", "train {world}/short.toml", ("lacks task, data, lr", "the keys of a recipe")),
    Row("unknown key", f"{TRAIN} --set lrr=1", ("no key 'lrr' (did you mean 'lr'?)", "the keys of a recipe")),
    Row("mistyped value", f"{TRAIN} --set batch=few", ("batch takes a whole number, not 'few'",)),
    Row(
        "a tracker that is none", f"{TRAIN} --log tensorbord", ("no tracker 'tensorbord': did you mean 'tensorboard'",)
    ),
    Row("value out of range", f"{TRAIN} --set lr=-1", ("lr must be above 0",)),
    Row("no key=value", f"{TRAIN} --set lr", ("'lr' is not key=value",)),
    Row("all at once", f"{TRAIN} --set lrr=1 --set batch=few", ("no key 'lrr'", "batch takes a whole number")),
    Row("unknown trainer", f"{TRAIN} --set trainer=lorra", ("did you mean 'lora'?", "bench list trainers")),
    Row("no trainer file", f"{TRAIN} --set trainer=./none.py", ("no file", "none.py")),
    Row("trainer without a contract", f"{TRAIN} --set trainer={{world}}/half.py", ("lacks Options, train",)),
    Row("unknown base", f"{TRAIN} --base smolm2-135m-it", ("did you mean 'smollm2-135m-it'?",)),
    Row("no base folder", f"{TRAIN} --base ./none", ("does not exist",)),
    Row("base without weights", f"{TRAIN} --base {{no_weights}}", ("holds no weights",)),
    Row("unknown prepared of a recipe", f"{TRAIN} --set task=word-prolems", ("did you mean 'word-problems'?",)),
    Row("no data", f"{TRAIN} --set data={{world}}/none.jsonl", ("none.jsonl",)),
    Row("unknown data", f"{TRAIN} --set data=rows", ("no data 'rows'", ".jsonl or .parquet")),
    Row("empty data", f"{TRAIN} --set data={{world}}/empty.jsonl", ("is empty",)),
    Row("data of no known shape", f"{TRAIN} --set data={{world}}/odd.jsonl", ("line 1",)),
    Row("a test split", f"{TRAIN} --set data=word-problems --set split=test", ("is not for training",)),
    Row(
        "data with test items",
        f"{TRAIN} --set data={{world}}/leaky.jsonl",
        ("word for word: test-0", "leave these rows out"),
    ),
    Row(
        "data made from the task",
        f"{TRAIN} --set derived_from=word-problems",
        ("was made from items of word-problems",),
    ),
    Row("rows too long", f"{TRAIN} --set max_length=20", ("would lose their answers: rows-1", "--set max_length=")),
    Row("too many shots", f"{TRAIN} --set shots=9", ("asks for 9 shots", "set shots to 1 or less")),
    Row("no process", f"{TRAIN} --gpus 0", ("--gpus is 1 or more",)),
    Row("fewer than no checkpoint", f"{TRAIN} --checkpoints -1", ("--checkpoints 0 or more",)),
    Row("peft is missing", TRAIN, ("the trainer 'lora' needs", "[train]'"), missing=("peft",)),
    Row(
        "sharding on one GPU", f"{TRAIN} --set sharding=fsdp", ("needs several GPUs", "--set sharding=none"), began=True
    ),
    Row("8-bit states to shard", SHARDED, ("8-bit AdamW cannot shard", "--set optimizer=adamw"), began=True),
    Row("trainings in a file", f"{TRAIN} --runs {{words}}", ("cannot write", "make it writable")),
    Row("merge of nothing", "merge {world}/none", ("no folder", "give a folder of weights")),
    Row("merge of whole weights", "merge {tiny}", ("neither a training run nor an adapter",)),
    Row("adapter without its base", "merge {adapter}", ("does not name its base", "--base MODEL")),
    Row("unfinished training", f"score {{unfinished}} {ASK}", ("is no candidate", "with the same command")),
    Row("merge of an unfinished training", "merge {unfinished}", ("is no candidate", "with the same command")),
    Row("no prepared before training", f"{STUDY} --task word-prolems", ("did you mean 'word-problems'?",)),
    Row("no engine before training", f"{STUDY} --engine script", ("did you mean 'scripted'?",)),
    Row("no limit before training", f"{STUDY} --limit 0", ("--limit 0 is out of range",)),
    Row(
        "one name for two",
        f"{TWICE} --name x",
        ("two candidates would be called 'x'", "one by one"),
    ),
    Row("show: no run", "show {tiny}", ("no run in", "give the folder")),
    Row("show: damaged run", "show {damaged}", ("line 2 is damaged", "--again")),
    Row("show: no entry", "show {tiny}/config.json", ("config.json", "restore the file")),
    Row("regrade: no run", "regrade {tiny}", ("no run in", "give the folder")),
    Row("grade: no file", "grade --cases {world}/none", ("no file", "give a JSONL file")),
    Row("grade: no text", f"grade --cases {{tiny}}/{SINGLE_FILE}", ("line 1 is not a case", 'write {"completion"')),
    Row("board: no folder", "board --leaderboards {world}/none", ("no folder", "give the folder")),
    Row("board: base alone", "board --base main", ("bench board --check --base main",)),
    Row("doctor: no folder", "doctor ./none", ("does not exist", "name the folder")),
)
