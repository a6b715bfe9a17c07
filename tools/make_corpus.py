"""Training and held-out stories from seeds, each story once, none in both.

    python tools/make_corpus.py --out corpus

The same arguments give the same bytes.
"""

import argparse
from pathlib import Path

from story_grammar import tell

HELD_OUT_FIRST_SEED = 1_000_000_000


def stories(first_seed, n_stories, seen):
    """The first n_stories different stories from first_seed on that are not in seen.

    Args:
        seen: set of texts; every story that is returned is added to it.
    Returns:
        (texts, nats, n_dropped): the stories, -log p of each derivation, and how many
        were dropped because they were in seen.
    """
    texts, nats, n_dropped, seed = [], [], 0, first_seed
    while len(texts) < n_stories:
        text, story_nats = tell(seed)
        seed += 1
        if text in seen:
            n_dropped += 1
            continue
        seen.add(text)
        texts.append(text)
        nats.append(story_nats)
    return texts, nats, n_dropped


def corpus(n_train, n_held_out, first_seed=0):
    """Training and held-out stories as (texts, nats, n_dropped) each; no text is in both."""
    seen = set()
    train = stories(first_seed, n_train, seen)
    held_out = stories(HELD_OUT_FIRST_SEED, n_held_out, seen)
    return train, held_out


def read_stories(path):
    """The stories of a file written by main(), a list of str."""
    return path.read_text(encoding="utf-8").rstrip("\n").split("\n\n")


def main():
    parser = argparse.ArgumentParser(description="Write training and held-out stories.")
    parser.add_argument("--n-train", type=int, default=60_000)
    parser.add_argument("--n-held-out", type=int, default=1_000)
    parser.add_argument("--first-seed", type=int, default=0, help="of the training stories")
    parser.add_argument("--out", type=Path, required=True, help="folder for the two text files")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    parts = corpus(args.n_train, args.n_held_out, args.first_seed)
    for name, (texts, _, n_dropped) in zip(("train", "held_out"), parts, strict=True):
        # A story has single newlines only, so an empty line separates two stories.
        (args.out / f"{name}.txt").write_text("\n\n".join(texts) + "\n", encoding="utf-8")
        print(f"{name}: {len(texts):,} stories, {n_dropped:,} repeated ones dropped")
    n_common = len(set(parts[0][0]) & set(parts[1][0]))
    print(f"stories in both: {n_common}")


if __name__ == "__main__":
    main()
