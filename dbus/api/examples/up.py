#!/usr/bin/python3
"""Raises a profile and follows it until it is up or has failed: up.py corp"""
import sys

from gi.repository import Gio, GLib

name = sys.argv[1]
bus = Gio.bus_get_sync(Gio.BusType.SYSTEM)


def proxy(path, interface):
    return Gio.DBusProxy.new_sync(bus, Gio.DBusProxyFlags.NONE, None, "org.adit1", path, interface)


try:
    path = proxy("/org/adit1/manager", "org.adit1.Manager").Up("(sa{sv})", name, {})
except GLib.Error as error:
    sys.exit(error.message)
connection = proxy(path, "org.adit1.Connection")
properties = proxy(path, "org.freedesktop.DBus.Properties")
loop = GLib.MainLoop()
connection.connect("g-signal", lambda _proxy, _sender, signal, _values: signal == "StateChanged" and loop.quit())
while (state := properties.Get("(ss)", "org.adit1.Connection", "State")) == "connecting":
    print(f"{name}: {state}")
    loop.run()
if state != "connected":
    code, text, hint, _ = properties.Get("(ss)", "org.adit1.Connection", "LastError")
    sys.exit(f"{name}: {state}: {text} ({code})\n{hint}")
addresses = properties.Get("(ss)", "org.adit1.Connection", "Addresses")
print(f"{name}: {state}: {properties.Get('(ss)', 'org.adit1.Connection', 'Interface')}, {', '.join(addresses)}")
