"""Says what isolation this machine gives to the graders of this plugin, by trying it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rft_grader_python.sandbox import linux
from rft_grader_python.sandbox.landlock import abi
from rft_grader_python.sandbox.launch import INSTALL, TierUnavailableError, Zygote
from rft_grader_python.sandbox.probe import LANDLOCK_NEEDED
from rft_grader_python.sandbox.setup import TIERS, Setup

_FIXES = {
    "bubblewrap": "apt install bubblewrap, or your system's package of that name",
    "namespaces": "allow unprivileged user namespaces: sysctl user.max_user_namespaces above 0, and on Ubuntu "
    "kernel.apparmor_restrict_unprivileged_userns=0; in a container, a seccomp profile that allows unshare and mount",
    "landlock": f"a kernel from 6.2 on with landlock in the boot option lsm= (version {LANDLOCK_NEEDED} of its interface)",
}


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was tried."""

    name: str
    status: Literal["ok", "warning", "missing"]
    message: str
    fix: str = ""
    """What to install or allow; empty for nothing."""


def checks() -> list[Check]:
    """The tier that `sandbox: auto` takes here, and each tier by itself. Takes about a second."""
    if not linux.SUPPORTED:
        message = "the sandbox needs Linux on x86_64 or aarch64"
        return [Check(name="sandbox", status="missing", message=message, fix="sandbox: none runs without isolation")]
    tiers = [_tier(name) for name in TIERS]
    taken = next((check.name for check in tiers if check.status == "ok"), None)
    if taken is None:
        first = Check(
            name="sandbox", status="missing", message="nothing isolates the code of graders here", fix=INSTALL
        )
    elif taken == "sandbox/landlock":
        first = Check(
            name="sandbox",
            status="warning",
            message="the graders `python` and `code_tests` run in the tier landlock: no private mounts, no child processes",
            fix=_FIXES["namespaces"],
        )
    else:
        tier = taken.removeprefix("sandbox/")
        first = Check(
            name="sandbox", status="ok", message=f"the graders `python` and `code_tests` run in the tier {tier}"
        )
    return [first, *tiers]


def _tier(name: str) -> Check:
    """Starts a zygote in the tier, whose trial job tries what must fail."""
    try:
        zygote = Zygote(Setup(tier=name))
    except TierUnavailableError as error:
        return Check(name=f"sandbox/{name}", status="missing", message=str(error), fix=_FIXES[name])
    facts = ", ".join(f"{key} {value}" for key, value in zygote.facts.items() if key != "sandbox")
    zygote.close()
    message = f"works ({facts})"
    if not abi():
        message += "; without Landlock it rests on namespaces and the system call filter"
    return Check(name=f"sandbox/{name}", status="ok", message=message)
