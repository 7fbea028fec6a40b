// Keeps the target a C target; everything is in the header.
