"""Paths that users name: `~` is the home folder wherever a path is taken, and suffixes may have capital letters."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import toys
from matplotlib.figure import Figure

import morl
from morl.board.page import write_page
from morl.envs.families.building_year import load as load_year
from morl.experiment.choosing import Chooser
from morl.experiment.commands import SCHEMAS, options_of_command
from morl.experiment.figures import save_figure
from morl.experiment.parsing import parse, path_of
from morl.experiment.settings import file_sources
from morl.experiment.tracking import _absolute
from morl.experiment.videos import check_video_file
from morl.output_files import PICTURE_SUFFIXES, check_output_file, check_output_folder, checked_folder, checked_path
from morl.studies.plan import read_study

pytestmark = pytest.mark.usefixtures("without_figures")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, without_figures: None) -> Path:
    """A home folder with a run in it."""
    home = tmp_path_factory.mktemp("home")
    toys.train(home / "run", "deep-sea-treasure-v0", 100)
    return home


@pytest.fixture
def home(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home folder; the working directory is an empty one."""
    monkeypatch.setenv("HOME", str(trained))
    monkeypatch.chdir(tmp_path)
    return trained


def study(**changes: Any) -> dict[str, Any]:
    return {
        "name": "a",
        "seeds": 1,
        "envs": ["toys:toy-walk-v0"],
        "agents": {"coins": {"agent": "toys:Coins"}},
    } | changes


@pytest.mark.parametrize("check", [checked_path, check_output_file, checked_folder, check_output_folder])
def test_a_home_folder_is_expanded_by_every_check(check: Callable[..., Path], home: Path) -> None:
    assert check("x", "~/a.png") == check("x", Path("~/a.png")) == home / "a.png"
    assert check("x", Path("a~.png")) == Path("a~.png")
    for path in ("~nobody-has-this-name/a", "./~nobody-has-this-name/a"):
        with pytest.raises(ValueError, match=r"^x is '.*~nobody-has-this-name/a', but there is no home folder ~nobody"):
            check("x", path)


WRITTEN: dict[str, Callable[[str], object]] = {
    "a run": lambda place: morl.train("toys:Coins", "toy-walk-v0", run_dir=f"{place}/new", total_steps=40),
    "runs": lambda place: morl.train_seeds("toys:Coins", "toy-walk-v0", [0], run_dir=f"{place}/new", total_steps=40),
    "a policy": lambda place: morl.load(f"{place}/run").policy(row=0).save(f"{place}/new"),
    "a graph": lambda place: morl.load(f"{place}/run").policy(row=0).to_torchscript(f"{place}/new"),
    "a video": lambda place: morl.load(f"{place}/run").record(f"{place}/new.gif", row=0),
    "a page": lambda place: write_page([f"{place}/run"], f"{place}/new.html"),
    "a figure": lambda place: save_figure(Figure(), f"{place}/new.png"),
}


@pytest.mark.parametrize("what", WRITTEN)
def test_what_is_written_goes_to_the_home_folder(what: str, home: Path) -> None:
    before = set(home.iterdir())
    WRITTEN[what]("~")
    assert [path.stem for path in set(home.iterdir()) - before] == ["new"]
    assert list(Path().iterdir()) == []
    made = next(iter(set(home.iterdir()) - before))
    made.rename(home / f"{what}{made.suffix}")


READ: dict[str, Callable[[str], object]] = {
    "a run": lambda place: morl.load(f"{place}/run").directory,
    "a policy": lambda place: morl.load_policy(next((Path(place).expanduser() / "run/policies").iterdir())).policy_id,
    "the folder of studies": lambda place: read_study(study(), f"{place}/studies").folder,
    "a study": lambda place: read_study(f"{place}/study.toml").file,
    "the settings of a variant": lambda place: (
        read_study(study(agents={"coins": {"agent": "toys:Coins", "file": f"{place}/settings.toml"}}))
        .runs[0]
        .total_steps
    ),
    "a session": lambda place: Chooser(morl.load(f"{place}/run"), file=f"{place}/session.json").file,
    "settings": lambda place: file_sources(f"{place}/settings.toml"),
    "a server's folder": lambda place: _absolute(f"file:{place}/mlruns") == _absolute(f"{place}/mlruns"),
}


@pytest.mark.parametrize("what", READ)
def test_what_is_read_lies_in_the_home_folder(what: str, home: Path) -> None:
    (home / "study.toml").write_text(
        'total_steps = 10\nseeds = 1\nenvs = ["toys:toy-walk-v0"]\nagents = ["toys:Coins"]'
    )
    (home / "settings.toml").write_text("total_steps = 70")
    assert READ[what]("~") == READ[what](str(home))


def test_a_run_in_the_home_folder_is_resumed(home: Path) -> None:
    assert morl.resume("~/run", 150).directory == home / "run"


def test_a_year_in_the_home_folder_is_read(home: Path) -> None:
    with pytest.raises(ValueError, match=f"^{home}/year/weather.epw must hold"):
        load_year("~/year")


def test_a_tuning_in_the_home_folder_is_read(home: Path) -> None:
    tuning_plan = pytest.importorskip("morl.studies.tuning_plan")
    (home / "settings.toml").write_text("total_steps = 70")
    ranges = {"agent": {"learning_rate": {"low": 1e-4, "high": 1e-3}}}
    agents = {"pd-morl": {"file": "~/settings.toml"}}
    table = {"name": "sea", "envs": ["deep-sea-treasure-v0"], "seeds": 1, "agents": agents, "ranges": ranges}
    assert tuning_plan.read_tuning(table, "~/tunings").folder == home / "tunings" / "sea"


PATH_OPTIONS = [
    (command, option.flag)
    for command in SCHEMAS
    if command != "train"
    for option in options_of_command(command)
    if option.takes_file
]
WORDS = {"study": ("x.toml",), "tune": ("x.toml",)}


@pytest.mark.parametrize(("command", "flag"), PATH_OPTIONS)
def test_every_option_that_takes_a_path_expands_a_home_folder(command: str, flag: str, home: Path) -> None:
    words = [*WORDS.get(command, ("~/run",)), f"{flag}=~/a.png"]
    chosen = parse(SCHEMAS[command], words)
    assert getattr(chosen, flag[2:].replace("-", "_")) == home / "a.png"
    runs = getattr(chosen, "runs", None) or [getattr(chosen, "run", home / "run")]
    assert list(runs) == [home / "run"]


def test_a_run_folder_given_as_an_option_lies_in_the_home_folder(home: Path, morl_cli: Any) -> None:
    words = ("train", "toys:Coins", "toy-walk-v0", "--total-steps", "40")
    assert morl_cli(*words, "--run-dir=~/by-flag")[0] == 0
    assert (home / "by-flag" / "front.json").is_file()
    code, _, complaint = morl_cli(*words, "--run-dir=~nobody-has-this-name/x")
    assert (code, complaint.count("\n")) == (2, 1)
    assert "--run-dir is '~nobody-has-this-name/x', but there is no home folder ~nobody-has-this-name: " in complaint
    assert list(Path().iterdir()) == []


def test_the_parser_leaves_no_home_folder_that_exists() -> None:
    assert path_of("~/x") == checked_path("x", "~/x")


SUFFIXES: dict[str, Callable[[str], Path]] = {
    "picture": lambda name: check_output_file("plot", name, PICTURE_SUFFIXES),
    "video": check_video_file,
    "page": lambda name: check_output_file("html", name, (".html",)),
}


@pytest.mark.parametrize(("what", "suffix"), [("picture", ".png"), ("video", ".gif"), ("page", ".html")])
def test_suffixes_have_any_letters_and_a_name_before_them(what: str, suffix: str, home: Path) -> None:
    check = SUFFIXES[what]
    for name in (f"x{suffix}", f"x{suffix.upper()}", f"x.y{suffix.title()}"):
        assert check(name) == Path(name)
    for name in (suffix, suffix.upper()):
        with pytest.raises(
            ValueError, match=rf"is '{name}', but must have a name before its suffix, such as 'name{name}'"
        ):
            check(name)
    for name in ("x", "x.foo", ".foo"):
        with pytest.raises(ValueError, match=rf"is '{name}', but must end in"):
            check(name)


def test_what_has_a_suffix_in_capital_letters_is_written(home: Path, morl_cli: Any) -> None:
    assert morl_cli("front", home / "run", "--plot", "x.PNG", "--html", "x.HTML")[0] == 0
    assert morl_cli("watch", home / "run", "--row", 0, "--video", "x.GIF")[0] == 0
    assert morl_cli("export", home / "run", "--row", 0, "--format", "pt", "--output", "x.PT")[0] == 0
    assert Path("x.PNG").read_bytes().startswith(b"\x89PNG")
    assert Path("x.GIF").read_bytes().startswith(b"GIF")
    assert morl.load_policy("x.PT").env_id == "deep-sea-treasure-v0"
    assert sorted(path.name for path in Path().iterdir()) == ["x.GIF", "x.HTML", "x.PNG", "x.PT"]


@pytest.mark.parametrize(
    "write",
    [
        lambda run, place: write_page([run.directory], place / "x.html"),
        lambda run, place: run.record(place / "x.gif", row=0),
        lambda run, place: save_figure(Figure(), place / "x.png"),
        lambda run, place: run.policy(row=0).save(place / "x.pt"),
        lambda run, place: run.choose(lambda *_: None, file=place / "x"),
    ],
)
def test_python_checks_the_place_of_a_file_as_the_command_line_does(write: Callable[..., object], home: Path) -> None:
    run = morl.load("~/run")
    with pytest.raises(ValueError, match=r"^file is 'nowhere/x.*', but nowhere is not a folder: make it first"):
        write(run, Path("nowhere"))
    Path("folder").mkdir()
    for name in ("x", "x.html", "x.gif", "x.png", "x.pt"):
        (Path("folder") / name).mkdir()
    with pytest.raises(ValueError, match=r"^file is 'folder/x.*', but must be the path of a file, and this is a"):
        write(run, Path("folder"))
