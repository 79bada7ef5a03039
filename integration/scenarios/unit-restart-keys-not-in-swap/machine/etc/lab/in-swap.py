# Whether what the daemon hands over is in memory alone: in-swap.py PID, of who holds it. Exit code 1: a page of it is, or was, in swap, or a
# piece of it that is as random as keys are.
import ctypes, mmap, os, sys

PAGE = mmap.PAGESIZE
PIECE = 32
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]


# Which pages of a file are in memory. It reads none of them.
def resident(file, length):
    at = libc.mmap(None, length, mmap.PROT_READ, mmap.MAP_SHARED, file, 0)
    pages = ctypes.create_string_buffer(length // PAGE)
    if at == ctypes.c_void_p(-1).value or libc.mincore(at, length, pages) != 0:
        raise OSError(ctypes.get_errno(), "mincore")
    return [byte & 1 for byte in pages.raw]


# What a device holds, by now: the cache of blocks knows nothing of what swap writes.
def device(name):
    file = os.open(name, os.O_RDONLY | os.O_DIRECT)
    length = os.lseek(file, 0, os.SEEK_END)
    held = mmap.mmap(-1, length)
    done = 0
    while done < length:
        done += os.preadv(file, [memoryview(held)[done : done + (1 << 20)]], done)
    return held


# What no other memory has by chance. Addresses, names and lengths have fewer different bytes, and may be anywhere.
def random_pieces(whole):
    pieces = (whole[at : at + PIECE] for at in range(0, len(whole), PIECE))
    return [piece for piece in pieces if len(set(piece)) >= 24]


folder = f"/proc/{sys.argv[1]}/fd"
records = 0
gone = 0
pieces = []
for number in os.listdir(folder):
    if not os.readlink(f"{folder}/{number}").startswith("/memfd:adit-ikev2-"):
        continue
    records += 1
    file = os.open(f"{folder}/{number}", os.O_RDONLY)
    about = os.fstat(file)
    written = about.st_blocks * 512 // PAGE
    there = sum(resident(file, -(-about.st_size // PAGE) * PAGE))
    print(f"record of {written} pages, {there} in memory")
    gone += written - there
    # Only now, as this brings them back.
    pieces += random_pieces(os.pread(file, about.st_size, 0))
with open("/proc/swaps") as swaps:
    devices = [line.split() for line in swaps.readlines()[1:]]
used = 0
copies = 0
for name, _, _, kilobytes, _ in devices:
    used += int(kilobytes)
    held = device(name)
    copies += sum(held.find(piece) >= 0 for piece in pieces)
print(f"records: {records}, random pieces: {len(pieces)}, pages gone from memory: {gone}, pieces in swap: {copies}, swap in use: {used} kB")
if copies:
    print("what is handed over is in swap")
sys.exit(0 if records and pieces and used and not gone and not copies else 1)
