//! A buffer a thread, for what is read and done with at once: a thousand sessions that wait have none of their own.

use std::cell::Cell;

/// Longer than anything that is read at once: many segments of a TCP connection, as one packet, with its header.
const LENGTH: usize = 65_535 + 64;

thread_local! {
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Lends this thread's. What calls this again meanwhile gets another.
pub fn with<R>(work: impl FnOnce(&mut [u8]) -> R) -> R {
    let mut buffer = BUFFER.take();
    buffer.resize(LENGTH, 0);
    let done = work(&mut buffer);
    BUFFER.set(buffer);
    done
}
