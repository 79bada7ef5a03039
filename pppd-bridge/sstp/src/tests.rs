mod binding;
mod calls;
mod pair;
mod streams;
mod wire;
