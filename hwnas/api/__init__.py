"""The Python interface: what `import hwnas` offers, a function or class for every command.

Each makes the records that the commands make and calls what they call. `hwnas` itself has the names, and imports from
here what is used.
"""
