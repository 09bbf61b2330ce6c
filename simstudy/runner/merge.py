"""Join results folders of one design: shards, or studies run in pieces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from simstudy.errors import StoreError
from simstudy.runner.files import write_bytes
from simstudy.runner.manifest import Manifest, read_manifest, short, version_changes, write_manifest
from simstudy.runner.parts import FITS, REPLICATES, DamagedPartError, Part, read_fits, read_replicates
from simstudy.runner.store import CELLS, TRUTH, Notify, is_results_folder, locked, scan, tidy


def joint_manifest(roots: Sequence[Path]) -> Manifest:
    """Manifest of the joint folder: the most replications, and the methods of all.

    Raises
    ------
    StoreError
        If the folders are not of one design, or a method has different options in them.
    """
    manifests = [(root, read_manifest(root)) for root in roots]
    first_root, joint = manifests[0]
    problems = []
    for root, manifest in manifests[1:]:
        if manifest.design_digest != joint.design_digest:
            problems.append(
                f"{root}: it holds results of another design, '{manifest.name}' "
                f"(digest {short(manifest.design_digest)}), than {first_root}, '{joint.name}' "
                f"(digest {short(joint.design_digest)})"
            )
            continue
        shared = joint.methods.keys() & manifest.methods.keys()
        differing = sorted(name for name in shared if joint.methods[name] != manifest.methods[name])
        if differing:
            problems.append(f"{root}: options of {', '.join(differing)} are not those of {first_root}")
        newer = manifest if manifest.replications > joint.replications else joint
        text = newer.design_text if len(manifest.methods) <= len(joint.methods) else manifest.design_text
        joint = replace(
            joint,
            design_text=text,
            replications=newer.replications,
            methods=joint.methods | manifest.methods,
            cell_replications=_joint_replications(joint, manifest),
            until=joint.until if joint.until == manifest.until else {},
        )
    if problems:
        raise StoreError(problems)
    return joint


def _joint_replications(one: Manifest, other: Manifest) -> dict[int, int]:
    """The most replications of each cell that either folder asked for; empty if no cell has a number of its own."""
    cells = sorted(one.cell_replications.keys() | other.cell_replications.keys())
    return {cell: max(one.replications_of(cell), other.replications_of(cell)) for cell in cells}


def merge_folders(roots: Sequence[Path], out: Path, notify: Notify) -> Manifest:
    """Copy all parts into one folder, verifying each; what is there already is not copied again.

    Raises
    ------
    StoreError
        If the folders do not belong together, or ``out`` holds something else. Nothing is changed then.
    """
    exists = is_results_folder(out)
    sources = [root for root in roots if root.resolve() != out.resolve()]
    manifest = joint_manifest([out, *sources] if exists else sources)
    for root in sources:
        changed = version_changes(read_manifest(root), manifest.versions)
        if changed:
            notify(f"note: {root} was made with other versions ({changed}); last digits may differ")
    with locked(out):
        there = {part.name for part in tidy(out, manifest.design_digest, notify)}
        copied = 0
        for root in sources:
            contents = scan(root, manifest.design_digest)
            for error in contents.damaged:
                notify(f"{root}: {error}; left out")
            for part in contents.parts:
                if not part.killed and part.name not in there:
                    copied += _copy(root, part, out, notify)
                    there.add(part.name)
        for name in (CELLS, TRUTH):
            write_bytes(out / name, (sources[0] / name if sources else out / name).read_bytes())
        write_manifest(out, manifest)
    notify(f"{out}: {copied} parts from {len(sources)} folders, {len(there)} in all")
    return manifest


def _copy(root: Path, part: Part, out: Path, notify: Notify) -> bool:
    """Copy a part, the commit last."""
    try:
        read_replicates(root, part)
        read_fits(root, part.name)
    except DamagedPartError as error:
        notify(f"{root}: {error}; left out")
        return False
    for kind in (REPLICATES, FITS):
        write_bytes(out / kind / part.name, (root / kind / part.name).read_bytes())
    return True
