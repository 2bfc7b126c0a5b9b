"""The DAG as a user meets it before anything runs. Dry runs: a few seconds each."""

import json
import re
import shutil
import subprocess
import sys

import pytest
from picture import PAGE, picture
from published import paper_data
from workflow import REPOSITORY, overlay, scheduled, snakemake

from import_matrix import import_matrix

TARGETS = ["all", "figure1", "figure2", "figure3", "figure4", "table1", "tables"]
SMOKE = ["--configfile", "experiments/smoke.yaml"]
FROM_BUNDLE = ["--config", "bundle=bundles/miniature.zip"]
TRAINING = {"pretrain", "policy", "reward_model"}


@pytest.mark.parametrize("target", TARGETS)
def test_every_named_target_dry_runs(target):
    rules = scheduled(REPOSITORY, *SMOKE, "--forceall", target)
    assert rules >= TRAINING
    drawn = {rule for rule in rules if rule.startswith("draw_")}
    expected = {"all": drawn, "tables": set()}.get(target, {f"draw_{target}"})
    assert drawn == expected


def test_what_runs_no_job_needs_no_number_of_cores():
    command = [sys.executable, "-m", "snakemake", "--list-rules"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "manifest" in done.stdout.split()


@pytest.mark.parametrize(
    "experiment", ["debian", "debian-decisive", "decisive", "decisive-again", "tuning"]
)
def test_every_experiment_dry_runs(experiment):
    rules = scheduled(
        REPOSITORY, "--configfile", f"experiments/{experiment}.yaml", "--forceall", "all"
    )
    assert rules >= TRAINING
    assert ("fetch" in rules) == experiment.startswith("debian")


def test_pointwise_rewards_learn_from_judgements_alone():
    entailment = ["--configfile", "experiments/entailment.yaml", "--forceall", "all"]
    rules = scheduled(REPOSITORY, *entailment)
    assert rules >= TRAINING | {"judgements", "gold_score", "align", "draw_reliability"}
    assert not rules & {"preferences", "draw_bias"}
    assert scheduled(REPOSITORY, "--profile", "slurm", *entailment) == rules
    done = snakemake(REPOSITORY, "-n", "-p", *entailment)
    commands = re.findall(r"python scripts/(\w+)\.py (.*)", done.stdout)
    assert {name for name, given in commands if "--per_post " in given} == {"judgements"}
    assert {name for name, given in commands if "--reward pointwise" in given} == {
        *("reward_model", "claims", "data_card"),
    }
    (samples,) = {given for name, given in commands if name == "sample"}  # none to compare
    assert "--split best_of_n" in samples


def test_ratings_are_learned_from_and_downloaded():
    rules = scheduled(REPOSITORY, "--configfile", "experiments/valence.yaml", "--forceall", "all")
    assert rules >= TRAINING | {"fetch", "judgements", "align", "draw_people"}
    assert not rules & {"preferences", "draw_reliability", "draw_bias", "gold_score", "draw_gold"}


def test_what_is_gold_depends_on_the_kind_of_reward(tmp_path):
    raters = {}
    for reward, centering in (("preference", 0.01), ("pointwise", 0)):
        chosen = overlay(tmp_path, {"reward": reward, "centering": centering})
        done = snakemake(REPOSITORY, "-n", "-p", "--forceall", "all", *chosen)
        raters[reward] = set(re.findall(r"--rater (\S+)", done.stdout))
        assert done.stdout.count("--rater") > 3
    assert raters == {"preference": {"micro_tldr"}, "pointwise": {"micro_tldr_pointwise"}}


@pytest.mark.parametrize("experiment", ["paper", "released", "budget", "helpfulness", "xsum"])
def test_the_experiments_on_the_paper_s_data_dry_run(experiment):
    rules = scheduled(
        REPOSITORY, "--configfile", f"experiments/{experiment}.yaml", "--forceall", "all"
    )
    assert rules >= {"import_checkpoint", "policy", "sample", "reward_model"}
    assert ("pretrain" in rules) == (experiment != "released")
    assert ("judgements" in rules) == (experiment == "xsum") != ("preferences" in rules)
    assert "align" in rules or experiment == "budget"


@pytest.mark.parametrize("experiment", ["pythia", "multiberts", "own_models"])
def test_the_experiments_on_models_of_other_families_dry_run(experiment):
    rules = scheduled(
        REPOSITORY, "--configfile", f"experiments/{experiment}.yaml", "--forceall", "all"
    )
    finished = experiment == "own_models"
    assert rules >= {"fetch", "import_checkpoint", "policy", "sample", "score"}
    assert ("import_reward_model" in rules) == finished != ("reward_model" in rules)
    assert not rules & {"pretrain", "pretraining_text", "align"}


def test_the_paper_s_data_dry_runs(tmp_path):
    rules = scheduled(REPOSITORY, "--forceall", "all", *overlay(tmp_path, paper_data(tmp_path)))
    assert rules >= TRAINING | {"fetch", "import_tokenizer", "pretraining_text", "tokens"}
    assert not rules & {"tokenizer", "gold_score", "draw_gold"}  # people's comparisons, no gold


def test_the_slurm_profile_runs_what_a_configfile_names():
    profile = ["--profile", "slurm", *SMOKE, "--forceall", "all"]
    assert scheduled(REPOSITORY, *profile) == scheduled(REPOSITORY, *SMOKE, "--forceall", "all")


def test_figures_of_underspecification_need_no_evaluator():
    for figure in ("figure1", "figure2", "figure3"):
        rules = scheduled(REPOSITORY, *SMOKE, "--forceall", figure)
        assert not rules & {"score_evaluator", "gold_score", "evaluation_tables"}
    assert scheduled(REPOSITORY, *SMOKE, "--forceall", "figure4") >= {"score_evaluator"}


CHEAPER = {"warm_member", "warm", "multihead", "score_cheaper_ensembles", "score_mc_dropout"}


def test_cheaper_ensembles_are_made_only_if_the_config_asks_for_them(tmp_path):
    assert not scheduled(REPOSITORY, *SMOKE, "--forceall", "all") & CHEAPER
    ensembles = {"warm": [0], "multihead": [1], "mc_dropout": {"pretrain_seeds": [0, 1]}}
    rankers = {"base": ["mc_dropout8-pretrain0-mean"], "large": ["warm-pretrain0"]}
    change = {"cheaper_ensembles": ensembles, "recipe": {"dropout": 0.1}}
    chosen = overlay(tmp_path, change | {"rlhf": {"rankers": rankers}})
    rules = scheduled(REPOSITORY, *chosen, "--forceall", "all")
    assert rules >= {*CHEAPER, "align", "score_aligned", "draw_rlhf_frontier"}
    for figure in ("figure1", "figure2", "figure3"):  # they judge nothing
        assert not scheduled(REPOSITORY, *chosen, "--forceall", figure) & CHEAPER


def test_tables_of_rlhf_are_made_only_if_the_config_asks_for_it(tmp_path):
    made = {"rlhf_tables", *(f"draw_rlhf_{name}" for name in ("frontier", "correlation", "shift"))}
    assert scheduled(REPOSITORY, *SMOKE, "--forceall", "all") >= made
    without = overlay(tmp_path, {"rlhf": {"rankers": {"base": [], "large": []}}})
    assert not scheduled(REPOSITORY, *without, "--forceall", "all") & {*made, "align"}


JUDGING = {"judge_comparisons", "ask_judge", "judge_tables", "draw_judge"}


def test_a_judge_is_asked_only_if_the_config_names_one(tmp_path):
    assert not scheduled(REPOSITORY, *SMOKE, "--forceall", "all") & JUDGING
    server = {"url": "http://127.0.0.1:9/v1", "model": "m", "api_key_variable": "NO_SUCH_KEY"}
    for judge in (server, {"url": "gold"}):
        chosen = overlay(tmp_path, {"judge": judge})
        assert scheduled(REPOSITORY, *chosen, "--forceall", "all") >= JUDGING
    done = snakemake(REPOSITORY, "-n", "-p", "results/smoke/tables/judge.csv", *chosen)
    (command,) = re.findall(r"python scripts/ask_judge\.py .*", done.stdout)
    assert "--rater micro_tldr" in command


def test_the_sample_browser_reads_one_path_of_each_kind_of_ranker():
    """Of experiments/rlhf.yaml, which has dozens: the page has to stay small."""
    page = "results/rlhf/report/samples.html"
    done = snakemake(REPOSITORY, "-n", "-p", page, "--configfile", "experiments/rlhf.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    (command,) = re.findall(r"python scripts/browser\.py .*", done.stdout)
    aligned = json.loads(re.search(r"--aligned '(.*?)'", command)[1])
    assert aligned["seeds"] == [130] and len(aligned["kl_coefficients"]) == 6
    assert aligned["rankers"]["large"] == [
        *("single-pretrain130-finetune130", "finetune-pretrain130-mean"),
        "pretrain-finetune130-mean",
    ]
    assert len(aligned["rankers"]["base"]) == 9  # single, and four aggregators of two ensembles
    job = re.search(r"rule browser:.*?input: (.*?)\n", done.stdout, re.DOTALL)[1]
    read = [path for path in job.split(", ") if "/samples/aligned/" in path]
    assert len(read) == (9 + 3) * 6 and all("-seed130." in path for path in read)


@pytest.mark.parametrize(
    ("change", "key", "cure"),
    [
        ({"temprature": 1}, "temprature", "config.yaml"),
        ({"best_of_n": [1, 128]}, "best_of_n", "samples drawn"),
        ({"aggregators": ["mode"]}, "aggregators", "mean"),
        ({"scales": ["huge"]}, "scales", "base"),
        ({"world": "tldr"}, "pretraining.world", "c4, debian, micro_tldr, valence"),
        ({"reward": "pointwise"}, "centering", "set it to 0"),
        ({"reward": "pointwise", "centering": 0, "world": "debian"}, "reward", "micro_tldr, xsum"),
        ({"world": "xsum", "pretraining": {"world": "micro_tldr"}}, "reward", "pointwise"),
    ],
)
def test_a_bad_config_ends_before_any_job(tmp_path, change, key, cure):
    done = snakemake(REPOSITORY, "--dry-run", *overlay(tmp_path, change))
    lines = [line for line in (done.stdout + done.stderr).splitlines() if "config:" in line]
    assert done.returncode != 0
    assert len(lines) == 1
    assert key in lines[0] and cure in lines[0]
    assert "Job stats" not in done.stdout + done.stderr


def refused(*arguments):
    """The lines that a dry run ends with, without Snakemake's own lines about rules/."""
    done = snakemake(REPOSITORY, "--dry-run", "--quiet", "all", *arguments)
    assert done.returncode != 0
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return [
        line for line in lines if not line.startswith(("WorkflowError", "  File", "Config file "))
    ]


BASE = "extends: experiments/smoke.yaml\n"
FILES = {
    "a key twice": (
        BASE + "experiment: x\nlabels: {seed: 1, seed: 2}",
        r"x\.yaml: line 3: .* seed",
    ),
    "no name": (BASE + "resamples: 500", r"x\.yaml: has no `experiment:`"),
    "a number": (BASE + "experiment: 7", "experiment: 7 .* write it in quotes"),
    "itself": ("experiment: x\nextends: {self}", r"x\.yaml: extends itself"),
    "what is not there": ("experiment: x\nextends: gone.yaml", r"gone\.yaml: No such file"),
}


@pytest.mark.parametrize(("text", "said"), FILES.values(), ids=FILES)
def test_a_bad_overlay_is_refused_in_one_line(tmp_path, text, said):
    path = tmp_path / "x.yaml"
    path.write_text(text.replace("{self}", str(path)))
    (line,) = refused("--configfile", str(path))
    assert re.match(f"config: .*{said}", line)


SNAKEMAKE_S = {
    "empty": ("", "Config file must be given as JSON or YAML with keys at top level."),
    "a list": ("- 1", "Config file must be given as JSON or YAML with keys at top level."),
    "no YAML": ("a: [1\nb: 2", "Config file is not valid JSON or YAML."),
}


@pytest.mark.parametrize(("text", "said"), SNAKEMAKE_S.values(), ids=SNAKEMAKE_S)
def test_what_snakemake_refuses_before_it_reads_the_snakefile(tmp_path, text, said):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    done = snakemake(REPOSITORY, "--dry-run", "--configfile", str(path))
    last = (done.stdout + done.stderr).strip().splitlines()[-1]
    assert done.returncode != 0 and last.startswith(said)


def test_an_overlay_that_is_not_there(tmp_path):
    done = snakemake(REPOSITORY, "--dry-run", "--configfile", "experiments/gone.yaml")
    assert done.returncode != 0
    last = (done.stdout + done.stderr).strip().splitlines()[-1]
    assert "No such file" in last and "experiments/gone.yaml" in last


def test_a_chain_of_overlays_reaches_the_rules(tmp_path):
    (tmp_path / "middle.yaml").write_text(BASE + "experiment: middle\nresamples: 321\n")
    (tmp_path / "high.yaml").write_text(f"experiment: high\nextends: {tmp_path}/middle.yaml\n")
    overlay = ["--configfile", str(tmp_path / "high.yaml")]
    commands = snakemake(REPOSITORY, "-n", "-p", "claims", "--forceall", *overlay).stdout
    assert "results/high/evidence" in commands
    assert "--resamples 321 " in commands  # of the middle one
    assert '"best_of_n": [1, 2, 4, 8]' in commands  # of smoke, the lowest


GIVEN = ["best_of_n=[1,4]", "aggregators=[mean]", "resamples=500", "pretrain_seeds=[0,1,2]"]
GIVEN += ["labels={length_bias: 1e-1}", "scales=[base]"]


def test_what_config_gives_reaches_the_rules_in_its_type():
    done = snakemake(REPOSITORY, "-n", "-p", "claims", "--forceall", *SMOKE, "--config", *GIVEN)
    assert "--resamples 500 " in done.stdout and "--length_bias 0.1 " in done.stdout
    for part in ('"best_of_n": [1, 4]', '"pretrain_seeds": [0, 1, 2]', '"aggregators": ["mean"]'):
        assert part in done.stdout
    assert "/large/" not in done.stdout.replace("pretrain/large/", "")  # the policy's


def test_what_acts_after_the_matrix_can_be_typed_beside_a_bundle():
    given = ["bundle=bundles/miniature.zip", *GIVEN[:3], "scales=[xl]"]
    done = snakemake(REPOSITORY, "-n", "-p", "claims", "--forceall", "--config", *given)
    assert done.returncode == 0, done.stderr
    assert "--resamples 500 " in done.stdout and '"best_of_n": [1, 4]' in done.stdout
    assert "results/miniature-bundle/evidence/xl" in done.stdout
    assert "results/miniature-bundle/evidence/base" not in done.stdout


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("best_of_n=[1,x]", "best_of_n.1: 'x' is not allowed"),
        ("resamples=yes", "resamples: 'yes' is not allowed"),
        ("resamples=True", "resamples: True is not allowed"),
        ("experiment=007", "experiment: 7 is not allowed: .* write it in quotes"),
        ("scales=base", "scales: 'base' is not allowed: .* list"),
    ],
)
def test_what_config_gives_and_nobody_can_mean_is_refused_in_one_line(given, said):
    (line,) = refused(*SMOKE, "--config", given)
    assert re.match(f"config: {said}", line)


@pytest.mark.parametrize("script", ["estimate.py", "unlock.py"])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "No such file"),
        ("", "empty"),
        ("- 1", "not a map"),
        ("a: [1\nb: 2", "line 2: "),
        ("resamples: 500", "has no `experiment:`"),
        ("experiment: x\nresamples: 500\nresamples: 600", "line 3: the key resamples"),
    ],
)
def test_the_scripts_refuse_a_bad_overlay_in_one_line(tmp_path, script, text, said):
    path = tmp_path / "x.yaml"
    if text is not None:
        path.write_text(text)
    done = subprocess.run(
        [sys.executable, f"scripts/{script}", "--configfile", str(path)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{path}: {said}")


def test_make_names_an_experiment_that_is_not_there():
    for target in ("run", "estimate", "report", "bundle"):
        done = subprocess.run(
            ["make", "-n", target, "EXPERIMENT=gone"],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
        )
        assert done.returncode != 0
        assert "EXPERIMENT=gone: there is no experiments/gone.yaml" in done.stderr
    subprocess.run(["make", "-n", "figures", "EXPERIMENT=gone"], cwd=REPOSITORY, check=True)


@pytest.mark.parametrize(
    ("extended", "rule"),
    [("debian", "preferences"), ("entailment", "judgements"), ("valence", "judgements")],
)
def test_make_gives_priority_to_what_all_reward_models_wait_for(tmp_path, extended, rule):
    done = subprocess.run(
        ["make", "-n", "run"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    (given,) = re.findall(r"--prioritize (\w+)", done.stdout)
    path = REPOSITORY / "experiments" / f"{extended}.yaml"
    chosen = overlay(tmp_path, {"extends": str(path), "experiment": "mine"})
    assert scheduled(REPOSITORY, given, *chosen) >= {given, rule}
    everything = scheduled(REPOSITORY, "all", "--prioritize", given, *chosen)
    assert everything >= {given, *TRAINING}


@pytest.mark.parametrize("target", ["run", "report", "bundle", "figures"])
def test_make_shows_jobs_in_full_on_demand(target):
    for given, shown in ([], False), (["VERBOSE=1"], True):
        done = subprocess.run(
            ["make", "-n", target, *given],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=True,
        )
        assert (" --printshellcmds " in done.stdout) == shown


def test_the_picture_in_the_manual_is_the_dag():
    assert picture() in PAGE.read_text(), "run: make pictures"


@pytest.mark.parametrize("target", ["all", "bundle"])
def test_braces_in_a_path_of_the_config_stay(target, tmp_path):
    path = "/data/{date}/{scale}/base-{seed}"
    checkpoints = {scale: {"path": f"{scale}{path}"} for scale in ("base", "large", "xl", "xxl")}
    changes = {"pretrain": {"source": "hub", "checkpoints": checkpoints}}
    done = snakemake(REPOSITORY, "-n", "-p", "-F", target, *overlay(tmp_path, changes))
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"path": "base/data/{date}/{scale}/base-1"' in done.stdout + done.stderr
    assert f'"base{path}"' in done.stdout + done.stderr  # the config, as manifest or bundle have it


def test_of_a_matrix_from_elsewhere_everything_is_drawn_that_can_be(tmp_path):
    """Without evaluator, texts and accuracy, on a grid that no single number describes."""
    folder = tmp_path / "rewards_alone"
    folder.mkdir()
    for name in ("rewards", "reward_models"):
        shutil.copy(REPOSITORY / f"examples/my_rewards/{name}.csv", folder)
    for matrix, given in ((REPOSITORY / "examples/my_rewards", True), (folder, False)):
        bundle = tmp_path / f"{matrix.name}.zip"
        import_matrix(matrix=matrix, output=bundle)
        rules = scheduled(REPOSITORY, "--config", f"bundle={bundle}", "--forceall", "all")
        drawn = {rule for rule in rules if rule.startswith("draw_")}
        always = {"draw_figure1", "draw_figure2", "draw_figure3", "draw_components"}
        judged = {"draw_figure4", "draw_table1", "draw_exact", "draw_rankers", "draw_shift"}
        assert drawn >= always and rules >= {"claims", "overview", "browser"}
        assert drawn & judged == (judged if given else set())
        assert "draw_gold" not in drawn and not rules & TRAINING
