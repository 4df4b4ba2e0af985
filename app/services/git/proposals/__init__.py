"""Pull requests at the three providers: found, created and read, with what each of them answers to refuse one."""
