"""`tgp doctor`: what is installed, what is fast here and what is missing."""

from typing import NamedTuple

_MARK = {"good": "[green]ok[/]", "note": "[yellow]note[/]", "bad": "[red]missing[/]"}
_GIB = 2**30


class Finding(NamedTuple):
    """One row of the report.

    Attributes:
        name: what was looked at.
        value: what was found.
        verdict: "good", "note" (works, could be better) or "bad" (something will fail).
    """

    name: str
    value: str
    verdict: str


def doctor(measure: bool = True) -> None:
    """Says what is installed, what is fast on this machine and what is missing.

    Args:
        measure: time a matrix product in float32 and bfloat16 (about two seconds).

    Examples:
        tgp doctor
        tgp doctor --no_measure
    """
    from rich.markup import escape
    from rich.table import Table

    from tgp_multimodal import consoles

    sections = {"Installed": packages(), "Machine": machine(), "Data": data()}
    if measure:
        sections["Speed"] = speed()
    console = consoles.console()
    for title, findings in sections.items():
        table = Table(title=title, title_justify="left", show_header=False, expand=False)
        for finding in findings:
            table.add_row(escape(finding.name), escape(finding.value), _MARK[finding.verdict])
        console.print(table)
    bad = [f.name for found in sections.values() for f in found if f.verdict == "bad"]
    print(f"missing: {', '.join(bad)}" if bad else "nothing that is needed is missing")


def packages() -> list[Finding]:
    """Version of every package that the project asks for, and of every extra."""
    import platform
    from importlib import metadata

    from packaging.requirements import Requirement

    from tgp_multimodal.requirements import PROJECT, advice, requirements

    findings = [Finding("python", platform.python_version(), "good")]
    try:
        metadata.version(PROJECT)
    except metadata.PackageNotFoundError:
        return [*findings, Finding(PROJECT, "not installed, run scripts/setup", "bad")]
    for asked in requirements():
        name = asked.name + (f" [{asked.extra}]" if asked.extra else "")
        specifier = Requirement(asked.text).specifier
        wanted = str(specifier)
        try:
            version = metadata.version(asked.name)
        except metadata.PackageNotFoundError:
            told = f"none, {wanted} wanted{advice(asked.name)}"
            findings.append(Finding(name, told, "note" if asked.extra else "bad"))
            continue
        if specifier.contains(version, prereleases=True):
            findings.append(Finding(name, version, "good"))
        else:
            findings.append(Finding(name, f"{version}, {wanted} wanted", "note"))
    return findings


def machine() -> list[Finding]:
    """Cores, memory, disk, the processor's matrix instructions, and the accelerator."""
    import os
    import shutil

    import torch

    flags = _cpu_flags()
    fast = [
        n for n in ("avx512_bf16", "amx_bf16", "avx512f", "avx2", "bf16", "asimd") if n in flags
    ]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    findings = [
        Finding("cores / torch threads", f"{cores} / {torch.get_num_threads()}", "good"),
        Finding("load", *_load(cores or 1)),
        Finding("instructions", ", ".join(fast) or "unknown", "good" if fast else "note"),
        Finding("accelerator", *_accelerator()),
    ]
    memory = _available_memory()
    if memory:
        verdict = "good" if memory > 4 * _GIB else "note"
        findings.append(Finding("memory available", f"{memory / _GIB:.1f} GiB", verdict))
    disk = shutil.disk_usage(".").free
    verdict = "good" if disk > 2 * _GIB else "note"
    return [*findings, Finding("disk free here", f"{disk / _GIB:.1f} GiB", verdict)]


def _load(cores: int) -> tuple[str, str]:
    """What else runs. Threads of torch that spin while they wait are slow beside other work."""
    import os

    average = os.getloadavg()[0]  # of a minute
    value = f"{average:.1f} on {cores} cores"
    is_passive = os.environ.get("OMP_WAIT_POLICY", "").lower() == "passive"
    if average < cores / 2 or is_passive:
        return value, "good"
    return f"{value}: OMP_WAIT_POLICY=PASSIVE makes training faster beside other work", "note"


def _cpu_flags() -> set[str]:
    from pathlib import Path

    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    found = [line.partition(":")[2] for line in lines if line.startswith(("flags", "Features"))]
    return set(found[0].split()) if found else set()


def _accelerator() -> tuple[str, str]:
    import torch

    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / _GIB
        return (
            f"{torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}, {memory:.0f} GiB",
            "good",
        )
    if torch.backends.mps.is_available():
        return "Apple GPU (mps); models are opened on the CPU unless TGP_DEVICE is mps", "note"
    return "none, the CPU is used", "note"


def _available_memory() -> int | None:
    from pathlib import Path

    path = Path("/proc/meminfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for line in lines:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def data() -> list[Finding]:
    """The shipped cards, suites and configs, and the folder of real tasks."""
    import os
    from pathlib import Path

    from tgp_multimodal.resources import shipped

    findings = []
    for parts in (("benchmarks", "cards"), ("benchmarks", "suites"), ("configs",)):
        name = "shipped " + parts[-1]
        try:
            files = list(shipped(*parts).rglob("*.yaml"))
        except FileNotFoundError:
            files = []
        findings.append(Finding(name, f"{len(files)} files", "good" if files else "bad"))
    folder = os.environ.get("TGP_DATA", "")
    if not folder:
        told = "not set; only the embedded cards can be scored"
        return [*findings, Finding("$TGP_DATA", told, "note")]
    tasks = len(list(Path(folder).glob("*/*/test.parquet")))
    found = f"{folder}, {tasks} tasks"
    return [*findings, Finding("$TGP_DATA", found, "good" if tasks else "bad")]


def speed(size: int | None = None, seconds: float = 0.5) -> list[Finding]:
    """Rate of a square matrix product in float32 and bfloat16, and their ratio.

    Training chooses its precision by a measurement of this kind: bfloat16 is several times faster
    on processors with the instructions for it and slower on those without.
    """
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    size = size or {"cpu": 1024, "cuda": 8192}[device]  # what fills the device
    single = _flops(size, "float32", device, seconds)
    half = _flops(size, "bfloat16", device, seconds)
    verdict = "faster" if half > single else "slower"
    told = f"bfloat16 is {half / single:.2f} x float32: {verdict}"
    return [
        Finding(f"float32 product on {device}", f"{single / 1e9:,.0f} GFLOP/s", "good"),
        Finding(f"bfloat16 product on {device}", f"{half / 1e9:,.0f} GFLOP/s", "good"),
        Finding("bfloat16 / float32", told, "good" if half > single else "note"),
    ]


def _flops(size: int, dtype: str, device: str, seconds: float) -> float:
    """Floating-point operations a second of the best of many products."""
    import time

    import torch

    # Random, for a GPU multiplies ones faster than what a network holds.
    matrix = torch.randn(size, size, device=device).to(getattr(torch, dtype))
    best = float("inf")
    product = matrix @ matrix
    if product.is_cuda:
        torch.cuda.synchronize()
    end = time.perf_counter() + seconds  # the first product, which may load a library, is not timed
    while best == float("inf") or time.perf_counter() < end:
        start = time.perf_counter()
        product = matrix @ matrix
        if product.is_cuda:
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best
