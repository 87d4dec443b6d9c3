"""From a service folder to bytecode: what it declares, what can be seen in its code, and the compiler."""
