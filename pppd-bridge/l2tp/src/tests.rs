mod calls;
mod channel;
mod pair;
mod snapshot;
mod strangers;
mod tunnels;
mod wire;
