"""The bill of materials in CycloneDX 1.6: every crate that is compiled into the executable, with licence and checksum.

Cargo itself knows what is linked for this platform, and Cargo.lock has the checksums; no tool besides is needed.
"""

import json
import re
import tomllib
import uuid

from .release import REPOSITORY, run


def make(release):
    text = json.dumps(document(release), indent=1, sort_keys=True)
    path = release.output / f"llamapool-{release.version}-{release.name}.cdx.json"
    path.write_text(text + "\n", encoding="utf-8")
    yield path


def document(release):
    host = re.search(r"^host: (.+)$", run(["rustc", "-vV"]), re.MULTILINE)[1]
    metadata = json.loads(run(
        ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", host],
        cwd=release.root,
    ))
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    top = next(id for id, package in packages.items() if package["name"] == "llamapool")
    linked = reachable(top, nodes)
    checksums = locked_checksums(release)

    components = [component(packages[id], checksums) for id in sorted(linked - {top}, key=reference)]
    dependencies = [
        {"ref": purl(packages[id]), "dependsOn": sorted(purl(packages[it]) for it in normal(nodes[id]))}
        for id in sorted(linked, key=reference)
    ]
    subject = component(packages[top], checksums) | {"type": "application"}
    # The same executable has the same document.
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps([components, release.version, release.name]))
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "serialNumber": f"urn:uuid:{serial}",
        "metadata": {
            "component": subject,
            "properties": [{"name": "llamapool:platform", "value": host}],
        },
        "components": components,
        "dependencies": dependencies,
    }


def normal(node):
    """The packages that a package is linked with: neither those of its tests nor of its build."""
    kinds = ((dependency["pkg"], dependency["dep_kinds"]) for dependency in node["deps"])
    return {package for package, all in kinds if any(kind["kind"] is None for kind in all)}


def reachable(top, nodes):
    found, left = set(), [top]
    while left:
        id = left.pop()
        if id not in found:
            found.add(id)
            left.extend(normal(nodes[id]))
    return found


def locked_checksums(release):
    lock = tomllib.loads(release.text("Cargo.lock"))
    return {(it["name"], it["version"]): it.get("checksum") for it in lock["package"]}


def reference(id):
    return id.rsplit("/", 1)[-1]


def purl(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def component(package, checksums):
    name, version = package["name"], package["version"]
    found = {
        "type": "library",
        "bom-ref": purl(package),
        "purl": purl(package),
        "name": name,
        "version": version,
    }
    if package["license"]:
        # An old way to write "or".
        found["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    repository = package["repository"] or (None if package["source"] else f"https://github.com/{REPOSITORY}")
    if repository:
        found["externalReferences"] = [{"type": "vcs", "url": repository}]
    checksum = checksums.get((name, version))
    if checksum:
        found["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    return found
