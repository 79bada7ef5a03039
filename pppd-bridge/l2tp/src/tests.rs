mod calls;
mod channel;
mod pair;
mod strangers;
mod tunnels;
mod wire;
