"""Facts about this machine, rules about them, and what to do, in Chinese and English. Works with the standard library alone.

    cpu, gpu, network, software   probes: what is here; every one of them answers on every machine, with less where there is less
    probe                         runs in a process of its own: imports a framework, names its devices, times them
    facts                         all probes, into one dict of plain values
    rules                         tables, each with its source
    judge                         facts -> findings: a pure function, so that it runs on machines that others reported
    words                         every finding in English and Chinese
    install                       facts -> the commands that install liandan here
    show                          findings -> lines for a terminal
"""
