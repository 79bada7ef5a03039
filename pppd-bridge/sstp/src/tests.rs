mod binding;
mod calls;
mod forwarded;
mod pair;
mod streams;
mod wire;
