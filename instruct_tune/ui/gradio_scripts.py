"""gradio's own scripts as the page gets them: what they repeat for each of the page's components is done once.

gradio keeps the page as a tree that Svelte observes. It goes through that tree, or through all events, for each
component as the page starts, and for each input and output of a request. This page has nine hundred components and four
hundred events. A change names the text that it replaces; where another gradio has another text, that script stays.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

from gradio.route_utils import BUILD_PATH_LIB
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Change:
    """``old``, which the script has once, becomes ``new``."""

    old: str
    new: str


TREE = (
    # A component is searched for from the tree's root, through everything before it.
    Change(
        "function Z(e,t){if(e.id===t)return e;"
        "if(e.children)for(let n of e.children){let e=Z(n,t);if(e)return e}return null}",
        "var labNodes=new WeakMap;"
        "function labAdd(e,t){t.has(e.id)||t.set(e.id,e);e.children&&e.children.forEach(e=>labAdd(e,t));return t}"
        "function Z(e,t){let n=labNodes.get(e);return n||labNodes.set(e,n=labAdd(e,new Map)),n.get(t)??null}",
    ),
    Change(
        "a.children=i.children,this.#f(i)",
        "a.children=i.children,labNodes.delete(this.root),this.#f(i)",
    ),
    # For each component all targets of all events are looked through, for those that are its own.
    Change(
        "let n=t.filter(t=>t.targets.find(([t])=>t===e.id)).map(t=>{let n=t.targets.find(([t])=>t===e.id);"
        "return n?n[1]:null}).filter(Boolean);return e.props.shared_props.attached_events=n,e}",
        "return e.props.shared_props.attached_events=[...labEvents(t).get(e.id)??[]],e}",
    ),
    Change(
        "var Te=[`value`,`open`,`selected`],",
        "var labIndexes=new WeakMap;function labEvents(e){let t=labIndexes.get(e);if(!t){labIndexes.set(e,t=new Map);"
        "for(let n of e)for(let[e,r]of new Map([...n.targets].reverse()))"
        "r&&(t.has(e)?t.get(e).push(r):t.set(e,[r]))}return t}"
        "var Te=[`value`,`open`,`selected`],",
    ),
    # The tree is made and changed six times over while it is observed already.
    Change(
        "this.#u=o,this.root=this.create_node({id:t.id,children:[]},new Map,!0);for(let t of e)t.props.visible!=0&&"
        "this.components_to_register.add(t.id);this.client=i,this.prepare();"
        "let c=e.reduce((e,t)=>(e.set(t.id,t),e),new Map);this.root.children=",
        "this.#u=o;let l=this.create_node({id:t.id,children:[]},new Map,!0);for(let t of e)t.props.visible!=0&&"
        "this.components_to_register.add(t.id);this.client=i,this.prepare();"
        "let c=e.reduce((e,t)=>(e.set(t.id,t),e),new Map);l.children=",
    ),
    Change(
        "X(this.root,this.initial_tabs),this.postprocess(this.root),this.root_untracked=this.root}",
        "X(l,this.initial_tabs),this.postprocess(l),this.root_untracked=this.root}",
    ),
)
"""Changes to the script of the tree."""

EVENTS = (
    # The tree that was just made is made again as the page is mounted, and each component gets all that it shows again.
    Change("le(()=>{v(),oe(()=>{O.reload(", "le(()=>{v()&&oe(()=>{O.reload("),
    # Each request, and each event at the start, reads values of the components that few events set.
    Change(
        "async set_event_args(e,t){let n={}",
        "async set_event_args(e,t){if(Object.keys(t).length===0)return()=>{};let n={}",
    ),
    # An event's inputs have a progress of their own only where they are streamed from a camera or a microphone.
    Change(
        "this.loading_stati.register(n.id,n.progress_targets,n.inputs,n.show_progress)",
        "this.loading_stati.register(n.id,n.progress_targets,[],n.show_progress)",
    ),
    # Each request clears the validation errors of its inputs, and no event has a validator.
    Change(
        "o===0&&r.inputs.forEach(e=>{this.update_state_cb(e,{loading_status:{validation_error:null}},!1)})",
        "o===0",
    ),
)
"""Changes to the script of the events."""

PROGRESS = (
    # The seconds of a pending request are counted in each frame, for good where its component goes away meanwhile.
    Change(",W&&ze()})}", ",W&&o.status===`pending`&&ze()})}"),
)
"""Changes to the script of the progress."""

CHANGES = {"core-*.js": TREE, "Blocks-*.js": EVENTS, "statustracker-*.js": PROGRESS}
"""By the name of a script in gradio's ``assets/``."""


def changed(script: str, changes: Sequence[Change]) -> str:
    """``script`` with ``changes``, if it has the text of each exactly once; else as it is, for some need each other."""
    for change in changes:
        if script.count(change.old) != 1:
            log.warning("gradio has another script, so a page starts slower; it has no longer: %.60s", change.old)
            return script
    for change in changes:
        script = script.replace(change.old, change.new)
    return script


@cache
def scripts() -> dict[str, bytes]:
    """The changed scripts by their names."""
    return {
        path.name: changed(path.read_text(encoding="utf-8"), changes).encode()
        for pattern, changes in CHANGES.items()
        for path in Path(BUILD_PATH_LIB).glob(pattern)
    }


class GradioScripts:
    """ASGI middleware that answers for the scripts of gradio that are changed."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything through but the changed scripts."""
        path = PurePosixPath(scope["path"]) if scope["type"] == "http" and scope["method"] == "GET" else None
        script = scripts().get(path.name) if path and path.parent.name == "assets" else None
        if script is None:
            await self.app(scope, receive, send)
        else:
            await Response(script, media_type="text/javascript")(scope, receive, send)
