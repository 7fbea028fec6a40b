print("under way")
