"""The picture of an X server's frame buffer (XWD, 32 bits a pixel) as PNG: png.py FROM TO."""
import struct
import sys
import zlib


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


with open(sys.argv[1], "rb") as file:
    whole = file.read()
header = struct.unpack(">25I", whole[:100])
size, width, height, line, colours = header[0], header[4], header[5], header[12], header[19]
if header[11] != 32 or header[7] != 0:
    sys.exit(f"{sys.argv[1]}: not 32 bits a pixel, the lowest octet first")
begin = size + 12 * colours
rows = []
for y in range(height):
    row = whole[begin + y * line : begin + y * line + 4 * width]
    rgb = bytearray(3 * width)
    rgb[0::3], rgb[1::3], rgb[2::3] = row[2::4], row[1::4], row[0::4]
    rows.append(b"\0" + bytes(rgb))
png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0))
png += chunk(b"IDAT", zlib.compress(b"".join(rows), 9)) + chunk(b"IEND", b"")
with open(sys.argv[2], "wb") as file:
    file.write(png)
