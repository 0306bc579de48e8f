# SPDX-License-Identifier: Apache-2.0
"""`perigee complete`: the engine alone, as a user calls it."""

import json

from harness import SOURCE, Skip, case, check, check_equal, main, run
from models import EXACT, engine_text, goldens


@case
def greedy_goldens():
    """complete: greedy completions of the exact model are the golden ones, token for token"""
    for prompt in goldens()["prompts"]:
        if not prompt["text"]:
            continue
        code, out, error = run("complete", "--model", EXACT, "--prompt", prompt["text"], "--greedy", "--ignore-eos", "--max-tokens",
                               len(prompt["greedy"]), "--json")
        check_equal((code, error), (0, ""), "exit code and standard error")
        answer = json.loads(out)
        check_equal(answer["prompt_tokens"], prompt["ids"], "tokens of the prompt")
        check_equal(answer["tokens"], prompt["greedy"], "generated tokens")


@case
def reference_story():
    """complete: the reference model's greedy tokens are reproduced"""
    model = SOURCE.parent / "shared/models/stories260k"
    if not model.is_dir():
        raise Skip("no ../shared/models/stories260k")
    for golden in json.loads((model / "golden_generate.json").read_text())["prompts"]:
        code, out, _ = run("complete", "--model", model, "--prompt", golden["prompt"], "--greedy", "--ignore-eos", "--max-tokens",
                           len(golden["greedy_ids"]), "--json")
        check_equal(code, 0, "exit code")
        check_equal(json.loads(out)["tokens"], golden["greedy_ids"], f"tokens after {golden['prompt']!r}")


@case
def bare_output():
    """complete: standard output is the completion and one line break, streamed or not"""
    prompt = goldens()["prompts"][1]["text"]
    text = engine_text(EXACT, prompt, 32)
    flags = ["complete", "--model", EXACT, "--prompt", prompt, "--greedy", "--ignore-eos", "--max-tokens", 32]
    check_equal(run(*flags, "--stream"), (0, text + "\n", ""), "streamed")
    check_equal(json.loads(run(*flags, "--json")[1])["text"], text, "text in JSON")
    check(not text.startswith(prompt), "the prompt must not be repeated")


@case
def seeds():
    """complete: the same seed gives the same text, and different seeds do not"""
    texts = [run("complete", "--model", EXACT, "--prompt", "The river", "--seed", seed, "--max-tokens", 24, "--ignore-eos")[1]
             for seed in (1, 1, 2)]
    check_equal(texts[0], texts[1], "two runs with seed 1")
    check(texts[0] != texts[2], "seeds 1 and 2 gave the same text")


@case
def mistakes():
    """complete: a mistake is one line that names the flag, and exit code 2"""
    for flags, named in [([], "--prompt"), (["--prompt", "x", "--max-tokens", "many"], "--max-tokens"),
                         (["--prompt", "x", "--model", "no/such/dir"], "--model"), (["--prompt", "x", "--bogus"], "--bogus"),
                         (["--prompt", "x", "--greedy", "--temperature", "1"], "--temperature"),
                         (["--prompt-file", "no/such/file", "--model", EXACT], "--prompt-file")]:
        code, out, error = run("complete", *flags)
        check_equal((code, out), (2, ""), f"exit code and output with {flags}")
        check_equal(error.count("\n"), 1, f"lines of {error!r}")
        check(error.startswith("perigee: ") and named in error, f"{named} is not named: {error!r}")
    code, out, error = run("complete", "--model", EXACT, "--prompt", "word " * 600)
    check_equal((code, out), (1, ""), "exit code for a prompt longer than the context")
    check_equal(error.count("\n"), 1, f"lines of {error!r}")


if __name__ == "__main__":
    main(minutes=5)
