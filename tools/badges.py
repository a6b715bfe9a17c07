"""Write the badges below README's title, which open the course elsewhere, and their pictures.

    python tools/badges.py

The repository's address is taken from pyproject.toml; run this again when it changes. The pictures
lie in docs/badges, so that a page with badges asks no other server for anything.
"""

import re
import tomllib
from pathlib import Path
from urllib.parse import quote

ROOT = Path(__file__).resolve().parents[1]
FIRST = "notebooks/00_start_here.ipynb"

#: Name of the picture -> its two halves, and where it leads: {home} is the repository's address,
#: {slug} is OWNER/REPOSITORY in it.
BADGES = {
    "binder": ("open on", "Binder", "https://mybinder.org/v2/gh/{slug}/main?labpath={quoted}"),
    "codespaces": ("open in", "Codespaces", "https://codespaces.new/{slug}?quickstart=1"),
    "colab": (
        "open in",
        "Colab",
        "https://colab.research.google.com/github/{slug}/blob/main/{first}",
    ),
}

#: Both have white letters on them: contrast 7.6 and 5.6.
_LEFT, _RIGHT = "#525252", "#00639c"


def home():
    """The repository's address, as pyproject.toml has it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return project["urls"]["Homepage"]


def lines(address):
    """The lines of Markdown for README.

    Args:
        address: https://github.com/OWNER/REPOSITORY.
    """
    slug = re.fullmatch(r"https://github\.com/([\w.-]+/[\w.-]+)", address)[1]
    return "\n".join(
        f"[![{left.capitalize()} {right}](docs/badges/{name}.svg)]"
        f"({leads.format(slug=slug, first=FIRST, quoted=quote(FIRST, safe=''))})"
        for name, (left, right, leads) in BADGES.items()
    )


def picture(left, right):
    """An SVG of 20 pixels height; the widths are those of the letters, about 6.5 pixels each."""
    a, b = (round(6.5 * len(half)) + 12 for half in (left, right))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{a + b}" height="20" role="img" '
        f'aria-label="{left} {right}">\n'
        f'<rect width="{a + b}" height="20" rx="3" fill="{_RIGHT}"/>\n'
        f'<path d="M3 0H{a}V20H3A3 3 0 0 1 0 17V3A3 3 0 0 1 3 0Z" fill="{_LEFT}"/>\n'
        '<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" '
        'text-anchor="middle">\n'
        f'<text x="{a / 2}" y="14" textLength="{a - 12}">{left}</text>\n'
        f'<text x="{a + b / 2}" y="14" textLength="{b - 12}">{right}</text>\n'
        "</g>\n</svg>\n"
    )


def with_badges(readme, address):
    """The text of README with these badges and no others, below its title."""
    title, _, rest = readme.partition("\n\n")
    rest = re.sub(r"\A(\[!\[.*\n)+\n", "", rest)
    return f"{title}\n\n{lines(address)}\n\n{rest}"


def main():
    for name, (left, right, _) in BADGES.items():
        (ROOT / "docs" / "badges" / f"{name}.svg").write_text(picture(left, right), "utf-8")
    readme = ROOT / "README.md"
    readme.write_text(with_badges(readme.read_text("utf-8"), home()), "utf-8")


if __name__ == "__main__":
    main()
