# Somebody who imports a file with GNOME Settings, and presses what it says of itself to assistive technology: person.py FILE.
# They wait for what is to be there, and say what there is where it does not come.
import subprocess, sys, time

import gi

gi.require_version("Atspi", "2.0")
from gi.repository import Atspi, GLib

END = time.monotonic() + 500


def walk(node, depth=0):
    yield node, depth
    for i in range(node.get_child_count()):
        child = node.get_child_at_index(i)
        if child is not None:
            yield from walk(child, depth + 1)


# All that is shown: what each thing is, and says.
def shown():
    try:
        for node, depth in walk(Atspi.get_desktop(0)):
            if depth < 2 or node.get_state_set().contains(Atspi.StateType.SHOWING):
                yield node, node.get_role_name(), node.get_name() or ""
    except GLib.Error:
        # It has changed meanwhile.
        return


# The first of these that is there: a role, and what it says.
def wait_for(*wanted):
    while time.monotonic() < END:
        for node, role, name in shown():
            if (role, name) in wanted:
                return node
        time.sleep(0.2)
    told = [f"{role} {name!r}" for _, role, name in shown() if name]
    sys.exit(f"none of {wanted} came:\n" + "\n".join(told))


def xdotool(*words):
    return subprocess.check_output(["xdotool", *words], text=True).strip()


# A window that has the keyboard, as the window manager says.
def window(name):
    found = xdotool("search", "--sync", "--onlyvisible", "--name", f"^{name}$").split()[-1]
    xdotool("windowactivate", "--sync", found)
    return found


# By what it offers to do, or else with the mouse.
def press(node, inside=None):
    if inside is None:
        node.get_action_iface().do_action(0)
        return
    at = node.get_component_iface().get_extents(Atspi.CoordType.WINDOW)
    xdotool("mousemove", "--window", inside, str(at.x + at.width // 2), str(at.y + at.height // 2), "click", "1")


press(wait_for(("button", "Add VPN")))
press(wait_for(("list item", "Import from file…")), window("Add VPN"))
wait_for(("dialog", "Select file to import"))
window("Select file to import")
# A slash begins a path.
xdotool("key", "slash")
wait_for(("text", "")).set_text_contents(sys.argv[1])
press(wait_for(("button", "Open")))
answer = wait_for(("button", "Add"), ("alert", "Cannot Import VPN Connection"))
if answer.get_role_name() == "alert":
    sys.exit("\n".join(name for _, role, name in shown() if role == "label" and "Error" in name))
# What was read stands on pages, under a name that could be another one.
press(wait_for(("page tab", "Identity")), window("Add VPN"))
wait_for(("text", "Name"))
print("\n".join(f"{role} {name}" for _, role, name in shown() if name and role in ("label", "text", "page tab")))
press(wait_for(("button", "Add")))
# Whether it has become a connection NetworkManager knows.
while time.monotonic() < END:
    if "Corp VPN" in subprocess.check_output(["nmcli", "-g", "NAME", "connection", "show"], text=True).split("\n"):
        sys.exit()
    time.sleep(0.2)
sys.exit("it was not added")
