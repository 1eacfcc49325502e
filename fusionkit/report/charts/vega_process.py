"""The program that draws charts: it reads a Vega-Lite specification per line, and writes an SVG per line, as JSON.

It imports nothing of fusionkit, so that it starts at once.
"""

import json
import sys

import vl_convert


def main() -> None:
    """Draw until the input ends."""
    for line in sys.stdin.buffer:
        svg = vl_convert.vegalite_to_svg(json.loads(line), allowed_base_urls=[])
        sys.stdout.write(json.dumps(svg) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
