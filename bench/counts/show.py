"""What is shown of counts: their crates, their ratios, and the difference to what is recorded.
"""

from counts.count import counted
from rig import callgrind

# Two counts of the same build differ by less than 1 %.
TOLERANCE = 0.05
# Crates below this share are summed up.
SHOWN_SHARE = 0.01


def show(case, count):
    """Shows the instructions of each side, by crate."""
    for side, crates in count.sides.items():
        total = counted(crates)
        cleared = crates[callgrind.CLEARING] / count.calls
        print(f"{case}, {side}: {total / count.calls:,.0f} instructions per call, and {cleared:,.0f} {callgrind.CLEARING}")
        rest = total
        for crate, instructions in crates.most_common():
            if crate == callgrind.CLEARING:
                continue
            if instructions < SHOWN_SHARE * total:
                break
            rest -= instructions
            print(f"  {instructions / count.calls:>8,.0f}  {instructions / total:>5.1%}  {crate}")
        print(f"  {rest / count.calls:>8,.0f}  {rest / total:>5.1%}  others")


def show_ratios(figures):
    """Shows a call to an LLM beside the MCP call of its sizes."""
    if "mcp 1 KB" not in figures:
        return
    for case in ("llm", "assembled"):
        if case in figures:
            both, of_its_sizes = sum(figures[case].values()), sum(figures["mcp 1 KB"].values())
            print(f"{case}: {both:,} on both sides, {both / of_its_sizes:.2f} times an MCP call of its sizes")


def show_peers(figures, peers):
    """Shows the call of the benchmark beside that of each peer."""
    ours = sum(figures.get("mcp", {}).values())
    for name, sides in {"llamapool": figures.get("mcp", {}), **peers}.items():
        total = sum(sides.values())
        each = " + ".join(f"{side} {figure:,}" for side, figure in sides.items())
        ratio = f", llamapool ÷ it {ours / total:.2f}" if ours and total and name != "llamapool" else ""
        if sides:
            print(f"mcp, {name}: {each} = {total:,}{ratio}")


def compare(figures, recorded):
    """Shows the difference to the recorded figures, and returns the exit status: 1 where a figure is too large."""
    failed = False
    for case, sides in figures.items():
        for side, figure in sides.items():
            before = recorded.get(case, {}).get(side)
            if before is None:
                print(f"{case}, {side}: {figure:,}, not recorded yet: ./bench/instructions --record")
                failed = True
                continue
            change = figure / before - 1
            print(f"{case}, {side}: {figure:,}, recorded {before:,}: {change:+.1%}")
            if change > TOLERANCE:
                print(f"  FAILED: more than {TOLERANCE:.0%} above; find out why, or record it with a reason: "
                      "./bench/instructions --record")
                failed = True
            elif change < -TOLERANCE:
                print("  it became faster: record it, so that it stays so: ./bench/instructions --record")
    return 1 if failed else 0
